"""Small made-up batches for models of MMDetection, MMSegmentation and MMPretrain."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

SIDE, BATCH, OBJECTS = 128, 2, 3


def batch_for(scope: str, cfg: Mapping, model: torch.nn.Module) -> dict[str, Any]:
    """A batch as a data loader gives it.

    Args:
        scope: 'mmdet', 'mmseg' or 'mmpretrain'.
        cfg: Settings of the model.
        model: The model.
    """
    if scope == 'mmseg':
        return _segmentation(cfg)
    if scope == 'mmpretrain':
        return _classification()
    kind = type(model).__name__
    if kind == 'BaseReID':
        return _identification(cfg)
    return _tracking(cfg) if kind in ('QDTrack', 'MaskTrackRCNN', 'Mask2FormerVideo') else _detection(cfg, kind)


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


def _detection(cfg: Mapping, kind: str) -> dict[str, Any]:
    from mmdet.structures.bbox import get_box_tensor
    from mmdet.testing import demo_mm_inputs
    from mmengine.structures import InstanceData

    classes = class_count(cfg)
    np.random.seed(0)
    data = demo_mm_inputs(
        BATCH, (3, SIDE, SIDE), [OBJECTS] * BATCH, max(2, classes), with_mask=True, with_semantic=True
    )
    for sample in data['data_samples']:
        objects = sample.gt_instances
        objects.bboxes = _at_least(get_box_tensor(objects.bboxes), 16)
        objects.masks = _box_masks(objects.bboxes)
        objects.labels = objects.labels.clamp(max=classes - 1)
        sample.gt_sem_seg.sem_seg = sample.gt_sem_seg.sem_seg.clamp(max=classes - 1)
        if kind == 'FastRCNN':
            boxes = objects.bboxes
            sample.proposals = InstanceData(bboxes=boxes + 2, scores=torch.ones(len(boxes)))
    return data


def _at_least(boxes: torch.Tensor, side: int) -> torch.Tensor:
    """Boxes that are not too small to have an anchor or a mask."""
    corner = boxes[:, :2].clamp(max=SIDE - side)
    return torch.cat([corner, torch.maximum(boxes[:, 2:], corner + side)], dim=1)


def _box_masks(boxes: torch.Tensor) -> Any:
    from mmdet.structures.mask import PolygonMasks

    outlines = [[np.array([x1, y1, x2, y1, x2, y2, x1, y2])] for x1, y1, x2, y2 in boxes.numpy()]
    return PolygonMasks(outlines, SIDE, SIDE).to_bitmap()


def _tracking(cfg: Mapping) -> dict[str, Any]:
    from mmdet.testing import demo_track_inputs

    data = demo_track_inputs(1, 2, [0], (3, SIDE, SIDE), [OBJECTS], class_count(cfg), with_mask=True)
    for sample in data['data_samples']:
        for frame in sample.video_data_samples:
            frame.gt_instances.bboxes = _at_least(frame.gt_instances.bboxes, 16)
            frame.gt_instances.masks = _box_masks(frame.gt_instances.bboxes)
            frame.gt_instances.instances_ids = torch.arange(OBJECTS)
            frame.ignored_instances.bboxes = torch.zeros(0, 4)
    return data


def _identification(cfg: Mapping) -> dict[str, Any]:
    from mmdet.structures import ReIDDataSample

    people, views = 2, 4
    samples = []
    for person in range(people):
        sample = ReIDDataSample().set_gt_label(np.full(views, person))
        samples.append(sample)
    images = torch.randint(0, 255, (people, views, 3, 256, 128), dtype=torch.uint8)
    return dict(inputs=list(images), data_samples=samples)


def _segmentation(cfg: Mapping) -> dict[str, Any]:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    samples = []
    for _ in range(BATCH):
        maps = torch.randint(0, class_count(cfg), (1, SIDE, SIDE))
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=maps), metainfo=dict(img_shape=(SIDE, SIDE))))
    return dict(inputs=list(torch.randint(0, 255, (BATCH, 3, SIDE, SIDE), dtype=torch.uint8)), data_samples=samples)


def _classification() -> dict[str, Any]:
    from mmpretrain.structures import DataSample

    samples = [DataSample().set_gt_label(label) for label in range(BATCH)]
    return dict(inputs=list(torch.randint(0, 255, (BATCH, 3, SIDE, SIDE), dtype=torch.uint8)), data_samples=samples)
