"""A training iteration of whole detectors: forward, backward and the optimizer's step, on one drawn batch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import Tensor, nn

from fishnet_mmdet.lab.benchmark.measure import OnProgress, measure_in_turns
from fishnet_mmdet.lab.benchmark.measurement import Case, Measurement
from fishnet_mmdet.lab.benchmark.networks import take_statistics
from fishnet_mmdet.lab.benchmark.tasks import BenchmarkError
from fishnet_mmdet.lab.benchmark.timing import Budget

TITLE = 'Mask R-CNN iteration'
OBJECTS = 8
MIN_SIDE = 64


@dataclass(frozen=True, kw_only=True)
class Detector:
    """A detector in a form.

    Attributes:
        config: Name of a file of `configs/`.
        options: Settings that differ from the config, by dotted name.
    """

    config: str
    options: Mapping[str, object] = field(default_factory=dict)


DETECTORS: dict[str, Detector] = {
    'resnet50:eager': Detector(config='mask_rcnn_r50_fpn.py'),
    'fishnet150:eager': Detector(config='mask_rcnn_fishnet150_fpn.py'),
    'fishnet150:with_cp=bottleneck': Detector(
        config='mask_rcnn_fishnet150_fpn.py', options={'model.backbone.with_cp': 'bottleneck'}
    ),
}
"""By the name in tables. Ratios are against the first one."""


@dataclass(frozen=True, kw_only=True)
class DetectorPlan:
    """Where the detectors come from, and the size of their image.

    Attributes:
        configs: Folder of the configs.
        size: Height and width of the image in pixels.

    Raises:
        BenchmarkError: An image that is too small, or a folder without the configs.
    """

    configs: Path
    size: tuple[int, int]

    def __post_init__(self) -> None:
        if min(self.size) < MIN_SIDE:
            raise BenchmarkError(
                f'--detector-size {self.size[0]} {self.size[1]}: both sides must be at least {MIN_SIDE}'
            )
        for detector in DETECTORS.values():
            if not (self.configs / detector.config).is_file():
                raise BenchmarkError(
                    f'--detector: {detector.config} is not in {self.configs}; run the tool in a clone of the repository'
                )


class DetectorStep:
    """A training iteration of a detector as its config trains it, from random weights, with every BN fixed.

    The statistics of BN are those of a batch of noise.

    Args:
        detector: The detector.
        plan: Configs and image size.
        device: 'cpu' or 'cuda'.
    """

    def __init__(self, detector: Detector, plan: DetectorPlan, device: str) -> None:
        cfg = Config.fromfile(plan.configs / detector.config)
        cfg.merge_from_dict(dict(detector.options))
        cfg.model.backbone.init_cfg = None  # nothing is downloaded
        from mmdet.registry import MODELS  # mmdet takes seconds to import

        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope('mmdet'):
            self.network: nn.Module = MODELS.build(cfg.model)
        take_statistics(self.network.backbone, torch.randn(2, 3, 96, 96))
        self.network.to(device).train()
        # Each iteration must do the same work, so the weights have to stay nearly the same.
        cfg.optim_wrapper.optimizer.lr = 1e-6
        self.optimizer = build_optim_wrapper(self.network, cfg.optim_wrapper)
        self.batch = draw_batch(plan.size)

    def forward(self) -> dict[str, Tensor]:
        """Computes the losses, with their graph; the same proposals are sampled each time."""
        torch.manual_seed(0)
        data = self.network.data_preprocessor(self.batch, training=True)
        return self.network(**data, mode='loss')

    # A loss is one number: nearly all that it keeps is its graph.
    graph = forward

    def __call__(self) -> None:
        """Runs MMEngine's own training step."""
        torch.manual_seed(0)
        self.network.train_step(self.batch, self.optimizer)


def draw_batch(size: tuple[int, int], objects: int = OBJECTS) -> dict[str, list]:
    """Draws one image of noise with filled boxes, as a data loader hands it to a detector; the same each time.

    Args:
        size: Height and width in pixels.
        objects: Number of boxes.
    """
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    height, width = size
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (3, height, width), dtype=np.uint8)
    masks = np.zeros((objects, height, width), np.uint8)
    boxes = []
    for mask in masks:
        sides = (rng.uniform(0.1, 0.5, 2) * size).astype(int)
        top, left = rng.integers(0, size - sides)
        bottom, right = (top, left) + sides
        image[:, top:bottom, left:right] = rng.integers(0, 256, (3, 1, 1))
        mask[top:bottom, left:right] = 1
        boxes.append((left, top, right, bottom))
    sample = DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size, scale_factor=(1.0, 1.0)))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32),
        labels=torch.arange(objects),
        masks=BitmapMasks(masks, height, width),
    )
    return dict(inputs=[torch.from_numpy(image)], data_samples=[sample])


def measure_detectors(plan: DetectorPlan, budget: Budget, device: str, on_progress: OnProgress) -> list[Measurement]:
    """Times an iteration of each of `DETECTORS` on one image, in turns.

    Args:
        plan: Configs and image size.
        budget: How long to time.
        device: 'cpu' or 'cuda'.
        on_progress: Called before each part of the work.
    """
    steps = {}
    for i, (name, detector) in enumerate(DETECTORS.items()):
        on_progress(f'{TITLE}: building {name}', i / len(DETECTORS))
        steps[name] = DetectorStep(detector, plan, device)
    height, width = plan.size
    case = Case(task=TITLE, batch=1, height=height, width=width)
    return measure_in_turns(steps, case, budget, device, on_progress, baseline=lambda _, timed: timed[0], training=True)
