"""Reads COCO's panoptic maps without the package panopticapi, which mmdet's own loader needs and PyPI does not have."""

from collections.abc import Mapping

import numpy as np
from mmdet.datasets.transforms import LoadAnnotations, LoadPanopticAnnotations
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadPanopticMaps(LoadPanopticAnnotations):
    """mmdet's `LoadPanopticAnnotations`, without panopticapi.

    Args:
        backend_args: Where files are read from, as in mmdet's loaders.
    """

    def __init__(self, backend_args: Mapping | None = None) -> None:
        # The parent's constructor imports panopticapi for one function, and is left out.
        LoadAnnotations.__init__(
            self, with_bbox=True, with_label=True, with_mask=True, with_seg=True, backend_args=backend_args
        )
        self.rgb2id = segment_ids


def segment_ids(colours: np.ndarray) -> np.ndarray:
    """Converts the colours of a panoptic PNG to the ids of its segments.

    Args:
        colours: (H, W, 3) red, green and blue as bytes.

    Returns:
        (H, W) R + 256 G + 256^2 B; 0 belongs to no segment.
    """
    return colours.astype(np.int32) @ np.array([1, 256, 256**2], dtype=np.int32)
