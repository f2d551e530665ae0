"""Reading COCO's panoptic maps with what is on PyPI; mmdet's own loader needs the package panopticapi, which is not."""

from collections.abc import Mapping

import numpy as np
from mmdet.datasets.transforms import LoadAnnotations, LoadPanopticAnnotations
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadPanopticMaps(LoadPanopticAnnotations):
    """mmdet's `LoadPanopticAnnotations`, without panopticapi.

    Args:
        backend_args: Where files come from, as mmdet's loaders take it.
    """

    def __init__(self, backend_args: Mapping | None = None) -> None:
        # Past the parent's constructor, which imports panopticapi for one function.
        LoadAnnotations.__init__(
            self, with_bbox=True, with_label=True, with_mask=True, with_seg=True, backend_args=backend_args
        )
        self.rgb2id = segment_ids


def segment_ids(colours: np.ndarray) -> np.ndarray:
    """From the colours of a panoptic PNG to the ids of its segments.

    Args:
        colours: (H, W, 3) as red, green, blue bytes.

    Returns:
        (H, W) of R + 256 G + 256^2 B; 0 is nothing.
    """
    return colours.astype(np.int32) @ np.array([1, 256, 256**2], dtype=np.int32)
