"""What a detector finds on one image, as plain arrays."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fishnet_mmdet.base.errors import UserError


@dataclass(frozen=True, eq=False)
class Prediction:
    """The objects that a detector finds on one image, in the detector's order.

    Attributes:
        boxes: (N, 4) float32: left, top, right, bottom, in pixels of the image as it is read, rotated by its EXIF tag.
        scores: (N,) float32, from 0 to 1.
        labels: (N,) int64: indices of the classes.
        names: The class name of each object.
        masks: (N, height, width) bool; None if the detector has no masks.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    masks: np.ndarray | None
    height: int
    width: int

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, threshold: float) -> 'Prediction':
        """Returns the objects whose score is at least `threshold`."""
        kept = np.flatnonzero(self.scores >= threshold)
        return Prediction(
            self.boxes[kept],
            self.scores[kept],
            self.labels[kept],
            tuple(self.names[index] for index in kept),
            None if self.masks is None else self.masks[kept],
            self.height,
            self.width,
        )

    def to_supervision(self) -> Any:
        """Converts to a `supervision.Detections`, with the class names as its data `class_name`.

        Raises:
            UserError: supervision is not installed.
        """
        try:
            import supervision
        except ModuleNotFoundError as error:
            raise UserError(f'to_supervision() needs {error.name}: pip install supervision') from error
        return supervision.Detections(
            xyxy=self.boxes,
            mask=self.masks,
            confidence=self.scores,
            class_id=self.labels,
            data={'class_name': np.array(self.names, dtype=str)},
        )
