"""Small made-up batches for models of MMDetection, MMSegmentation and MMPretrain."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

BATCH, OBJECTS = 2, 3


def batch_for(scope: str, cfg: Mapping, model: torch.nn.Module, side: int) -> dict[str, Any]:
    """A batch as a data loader gives it.

    Args:
        scope: 'mmdet', 'mmseg' or 'mmpretrain'.
        cfg: Settings of the model.
        model: The model.
        side: Height and width of the images.
    """
    if scope == 'mmseg':
        return _segmentation(cfg, side)
    if scope == 'mmpretrain':
        return _classification(side)
    kind = type(model).__name__
    if kind == 'BaseReID':
        return _identification()
    return (
        _tracking(cfg, side)
        if kind in ('QDTrack', 'MaskTrackRCNN', 'Mask2FormerVideo')
        else _detection(cfg, kind, side)
    )


def class_count(cfg: Any) -> int:
    """The smallest number of classes that any part of a model has; 10 where none says."""
    return min([n for n in _values(cfg, 'num_classes') if n > 0], default=10)


def _values(node: Any, name: str) -> Iterator[int]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == name and isinstance(value, int):
                yield value
            else:
                yield from _values(value, name)
    elif isinstance(node, Sequence) and not isinstance(node, str):
        for value in node:
            yield from _values(value, name)


def _detection(cfg: Mapping, kind: str, side: int) -> dict[str, Any]:
    from mmdet.structures.bbox import get_box_tensor
    from mmdet.testing import demo_mm_inputs
    from mmengine.structures import InstanceData

    classes = class_count(cfg)
    np.random.seed(0)
    # The made-up semantic maps are of uint8.
    drawn = min(max(2, classes), 256)
    data = demo_mm_inputs(BATCH, (3, side, side), [OBJECTS] * BATCH, drawn, with_mask=True, with_semantic=True)
    for sample in data['data_samples']:
        objects = sample.gt_instances
        objects.bboxes = _at_least(get_box_tensor(objects.bboxes), 16, side)
        objects.masks = _box_masks(objects.bboxes, side)
        objects.labels = objects.labels.clamp(max=classes - 1)
        sample.gt_sem_seg.sem_seg = sample.gt_sem_seg.sem_seg.clamp(max=min(classes, 256) - 1)
        if kind == 'FastRCNN':
            boxes = objects.bboxes
            sample.proposals = InstanceData(bboxes=boxes + 2, scores=torch.ones(len(boxes)))
    return data


def _at_least(boxes: torch.Tensor, smallest: int, side: int) -> torch.Tensor:
    """Boxes that are not too small to have an anchor or a mask."""
    corner = boxes[:, :2].clamp(max=side - smallest)
    return torch.cat([corner, torch.maximum(boxes[:, 2:], corner + smallest)], dim=1)


def _box_masks(boxes: torch.Tensor, side: int) -> Any:
    from mmdet.structures.mask import PolygonMasks

    outlines = [[np.array([x1, y1, x2, y1, x2, y2, x1, y2])] for x1, y1, x2, y2 in boxes.numpy()]
    return PolygonMasks(outlines, side, side).to_bitmap()


def _tracking(cfg: Mapping, side: int) -> dict[str, Any]:
    from mmdet.testing import demo_track_inputs
    from mmengine.structures import InstanceData

    data = demo_track_inputs(1, 2, [0], (3, side, side), [OBJECTS], class_count(cfg), with_mask=True)
    for sample in data['data_samples']:
        for frame in sample.video_data_samples:
            frame.gt_instances.bboxes = _at_least(frame.gt_instances.bboxes, 16, side)
            frame.gt_instances.masks = _box_masks(frame.gt_instances.bboxes, side)
            frame.gt_instances.instances_ids = torch.arange(OBJECTS)
            frame.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4))
    return data


def _identification() -> dict[str, Any]:
    from mmdet.structures import ReIDDataSample

    # One sample holds all images: views of one person are the positive pairs of the triplet loss.
    people, views = 2, 4
    sample = ReIDDataSample().set_gt_label(np.repeat(np.arange(people), views))
    images = torch.randint(0, 255, (people * views, 3, 256, 128), dtype=torch.uint8)
    return dict(inputs=[images], data_samples=[sample])


def _segmentation(cfg: Mapping, side: int) -> dict[str, Any]:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    samples = []
    for _ in range(BATCH):
        maps = torch.randint(0, class_count(cfg), (1, side, side))
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=maps), metainfo=dict(img_shape=(side, side))))
    return dict(inputs=list(torch.randint(0, 255, (BATCH, 3, side, side), dtype=torch.uint8)), data_samples=samples)


def _classification(side: int) -> dict[str, Any]:
    from mmpretrain.structures import DataSample

    samples = [DataSample().set_gt_label(label) for label in range(BATCH)]
    return dict(inputs=list(torch.randint(0, 255, (BATCH, 3, side, side), dtype=torch.uint8)), data_samples=samples)
