"""A training iteration of whole detectors: forward, backward and the optimiser's step, on one drawn batch."""

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

from fishnet_mmdet.lab.benchmark.contenders import BenchmarkError, take_statistics
from fishnet_mmdet.lab.benchmark.measure import Measurement, Said, compare
from fishnet_mmdet.lab.benchmark.timing import Budget

TITLE = 'Mask R-CNN iteration'
OBJECTS = 8


@dataclass(frozen=True, kw_only=True)
class Detector:
    """A detector in a form.

    Attributes:
        config: A file of `configs/`.
        options: What of it is changed, by dotted names.
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
"""The first one is what the ratios are against."""


class Iteration:
    """An iteration of a detector as its config trains it, random weights, every BN fixed at statistics of noise."""

    def __init__(self, detector: Detector, configs: Path, size: tuple[int, int], device: str) -> None:
        cfg = Config.fromfile(configs / detector.config)
        cfg.merge_from_dict(dict(detector.options))
        cfg.model.backbone.init_cfg = None  # nothing is downloaded
        from mmdet.registry import MODELS  # mmdet takes seconds to import

        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope('mmdet'):
            self.network: nn.Module = MODELS.build(cfg.model)
        take_statistics(self.network.backbone, torch.randn(2, 3, 96, 96))
        self.network.to(device).train()
        cfg.optim_wrapper.optimizer.lr = 1e-6  # the same work each time: the weights stay all but where they are
        self.optimizer = build_optim_wrapper(self.network, cfg.optim_wrapper)
        self.batch = draw_batch(size)

    def forward(self) -> dict[str, Tensor]:
        """The losses, with their graph; the same proposals are sampled each time."""
        torch.manual_seed(0)
        data = self.network.data_preprocessor(self.batch, training=True)
        return self.network(**data, mode='loss')

    graph = forward  # a loss is a number: what it holds is its graph

    def __call__(self) -> None:
        """MMEngine's own training step."""
        torch.manual_seed(0)
        self.network.train_step(self.batch, self.optimizer)


def draw_batch(size: tuple[int, int], objects: int = OBJECTS) -> dict[str, list]:
    """One image of noise with filled boxes, as a data loader hands it to a detector; the same each time."""
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


def check_detectors(configs: Path, size: tuple[int, int]) -> None:
    """Refuses what could not be built, before anything is measured.

    Raises:
        BenchmarkError: Images too small, or no configs.
    """
    if min(size) < 64:
        raise BenchmarkError(f'--detector-size {size[0]} {size[1]}: must be at least 64 a side')
    for detector in DETECTORS.values():
        if not (configs / detector.config).is_file():
            raise BenchmarkError(f'--detector: no {detector.config} in {configs}; run it in a clone of this repo')


def measure_detectors(
    configs: Path, size: tuple[int, int], budget: Budget, device: str, say: Said
) -> list[Measurement]:
    """Times an iteration of each of `DETECTORS` on one image, in turns.

    Args:
        configs: The folder of the configs.
        size: Height and width of the image.
        budget: How long.
        device: 'cpu' or 'cuda'.
        say: Told what is being done, and which part of it is done.
    """
    steps = {}
    for i, (name, detector) in enumerate(DETECTORS.items()):
        say(f'{TITLE}: building {name}', i / len(DETECTORS))
        steps[name] = Iteration(detector, configs, size, device)
    facts = dict(task=TITLE, batch=1, height=size[0], width=size[1])
    return compare(steps, facts, budget, device, say, baseline=lambda _, timed: timed[0], training=True)
