"""Detectors that were trained with this project and ship with it, by name."""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / 'shipped_files'


@dataclass(frozen=True, kw_only=True)
class ShippedDetector:
    """Weights of a whole detector.

    Attributes:
        file: Name of the file in `FOLDER`.
        config: Name of the config that it was trained with, and that `infer` and `test` take.
        origin: Owner and licence of the weights.
    """

    file: str
    config: str
    origin: str

    @property
    def path(self) -> Path:
        """The file."""
        return FOLDER / self.file


SHIPPED: dict[str, ShippedDetector] = {
    'nuclei-mask-rcnn': ShippedDetector(
        file='nuclei-mask-rcnn.safetensors',
        config='mask_rcnn_fishnet_small_nuclei',
        origin='this project; trained on the 2018 Data Science Bowl (CC0), from random weights; Apache-2.0',
    ),
}
