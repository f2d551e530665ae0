"""Does training from random weights diverge? One small detector on several backbones, over warm-ups and learning rates.

The detector is MMDetection's Faster R-CNN with FPN, its heads narrow, trained with SGD on drawn images. Every backbone
has a quarter of its width and all of its depth.
"""

import io
import json
import math
import statistics
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.hub import get_config
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.lab.demo_data.demo import DemoSpec, make_demo_data
from fishnet_mmdet.lab.demo_data.drawing import CLASSES
from fishnet_mmdet.network.arch import resolve_arch
from fishnet_mmdet.network.fishnet import KAIMING_INIT
from fishnet_mmdet.training.guards.non_finite import NonFiniteError

DATA = DemoSpec(train=64, val=2, side=96)
BATCH = 2
WIDTH = 64
"""Channels of FPN and of the heads."""

LAST = 20
"""Number of iterations at the end whose losses are averaged."""

BN = dict(type='BN')


def _fishnet(norm_cfg: Mapping | None = None, init_cfg: Sequence[Mapping] | None = None, **arch: Any) -> dict[str, Any]:
    arch = dict(base='fishnet150', width=0.25, **arch)
    channels = list(resolve_arch(arch).out_channels)
    backbone = dict(_delete_=True, type='FishNet', arch=arch, init_cfg=init_cfg)
    return dict(backbone=backbone, neck=dict(in_channels=channels, norm_cfg=norm_cfg))


def _resnet(norm_cfg: Mapping | None = None) -> dict[str, Any]:
    backbone = dict(base_channels=16, frozen_stages=-1, norm_eval=False, init_cfg=None)
    return dict(backbone=backbone, neck=dict(in_channels=[64, 128, 256, 512], norm_cfg=norm_cfg))


NETWORKS: dict[str, dict[str, Any]] = {
    'resnet50': _resnet(),
    'resnet50-neck-bn': _resnet(BN),
    'fishnet150': _fishnet(),
    'fishnet150-neck-bn': _fishnet(BN),
    'fishnet150-levels': _fishnet(levels='norm_relu'),
    'fishnet150-no-zero': _fishnet(init_cfg=KAIMING_INIT),
}
"""Backbone and neck by name. Residuals start at zero, in ResNet as in FishNet, but for the last."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of the grid.

    Attributes:
        network: A key of `NETWORKS`.
        warm_up: Iterations of the linear warm-up, which begins at a thousandth of the rate.
        rate: Learning rate of SGD after the warm-up.
        seed: Seed of the weights and of the order of the images.
        iterations: Length of the run.
    """

    network: str
    warm_up: int
    rate: float
    seed: int
    iterations: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run went.

    Attributes:
        finished: Iterations whose losses and gradients were finite.
        first: Loss of the first iteration.
        last: Mean loss of the last iterations.
        worst: Largest loss.
        gradient: Norm of the first gradient.
    """

    finished: int
    first: float
    last: float
    worst: float
    gradient: float

    def text(self, cell: Cell) -> str:
        """The mean loss at the end, or how the run failed."""
        if self.finished < cell.iterations:
            return f'diverged at {self.finished + 1}'
        return f'{self.last:.2f}' if self.last < self.first else f'{self.last:.2f}, not below the first loss'


@HOOKS.register_module()
class RecordLosses(Hook):
    """Keeps the loss of every iteration, and the norm of the first gradient."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.gradient = math.nan

    def before_train(self, runner: Runner) -> None:
        """Asks the optimizer for the first gradient."""

        def measure(optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
            if math.isnan(self.gradient):
                parameters = [p for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
                self.gradient = float(torch.stack([p.grad.norm() for p in parameters]).norm())

        runner.optim_wrapper.optimizer.register_step_pre_hook(measure)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Mapping | None = None
    ) -> None:
        """Keeps the loss."""
        self.losses.append(float(outputs['loss'].detach()))


def config(cell: Cell, data: Path, work_dir: Path) -> Config:
    """MMDetection's Faster R-CNN for a cell of the grid.

    Args:
        cell: The run.
        data: A folder that `make_demo_data` has written.
        work_dir: Where logs go.
    """
    cfg = get_config('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py')
    # Merging takes `_delete_` out.
    network = deepcopy(NETWORKS[cell.network])
    head = dict(in_channels=WIDTH)
    roi_head = dict(
        bbox_roi_extractor=dict(out_channels=WIDTH, roi_layer=dict(sampling_ratio=1)),
        bbox_head=dict(head, fc_out_channels=128, num_classes=len(CLASSES)),
    )
    cfg.merge_from_dict(
        dict(
            model=dict(
                backbone=network['backbone'],
                neck=dict(network['neck'], out_channels=WIDTH),
                rpn_head=dict(head, feat_channels=WIDTH, anchor_generator=dict(scales=[4])),
                roi_head=roi_head,
                train_cfg=dict(rpn_proposal=dict(nms_pre=200, max_per_img=100), rcnn=dict(sampler=dict(num=32))),
            ),
            optim_wrapper=dict(optimizer=dict(lr=cell.rate)),
        )
    )
    cfg.train_dataloader = _loader(data)
    # Never validates.
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=cell.iterations)
    for split in ('val', 'test'):
        cfg[f'{split}_cfg'] = cfg[f'{split}_dataloader'] = cfg[f'{split}_evaluator'] = None
    warm_up = dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=cell.warm_up)
    cfg.param_scheduler = [warm_up] if cell.warm_up else []
    cfg.default_hooks = dict(logger=None, checkpoint=None)
    cfg.custom_hooks = [dict(type='RecordLosses'), dict(type='NonFiniteGuard')]
    cfg.visualizer = dict(type='Visualizer')
    # Above every message: what a guard says is in the outcome.
    cfg.log_level = 60
    cfg.update(work_dir=str(work_dir), experiment_name=work_dir.name, randomness=dict(seed=cell.seed))
    return cfg


def _loader(data: Path) -> dict[str, Any]:
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackDetInputs'),
    ]
    dataset = dict(
        type='CocoDataset',
        metainfo=dict(classes=CLASSES),
        data_root=f'{data}/',
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=8),
        pipeline=pipeline,
    )
    sampler = dict(type='InfiniteSampler', shuffle=True)
    return dict(batch_size=BATCH, num_workers=0, sampler=sampler, dataset=dataset)


def train(cell: Cell, data: Path) -> Outcome:
    """Trains one cell of the grid on the images of a folder that `make_demo_data` has written."""
    # pycocotools prints.
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        runner = Runner.from_cfg(config(cell, data, Path(folder)))
        with suppress(NonFiniteError):
            runner.train()
    (record,) = (hook for hook in runner.hooks if isinstance(hook, RecordLosses))
    # The loss of the iteration that the guard stopped is not there.
    losses = record.losses
    return Outcome(
        finished=len(losses),
        first=losses[0] if losses else math.nan,
        last=statistics.fmean(losses[-LAST:]) if losses else math.nan,
        worst=max(losses, default=math.nan),
        gradient=record.gradient,
    )


def train_grid(
    cells: Sequence[Cell], out: Path, steps: Callable[[Sequence[Cell]], Iterable[Cell]] = iter
) -> dict[Cell, Outcome]:
    """Trains the cells that are not yet in a file, and adds each to the file as it ends.

    Args:
        cells: The runs.
        out: A JSON file, for the outcomes of these and of earlier runs.
        steps: Wraps the runs, to show progress.

    Returns:
        The outcome of every cell.

    Raises:
        ConfigError: The file is there and is not one that this function wrote.
    """
    done = _read(out)
    left = [cell for cell in cells if cell not in done]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / 'data'
        if left:
            with redirect_stdout(io.StringIO()):
                make_demo_data(data, DATA)
        for cell in steps(left):
            done[cell] = train(cell, data)
            rows = [dict(cell=asdict(c), outcome=asdict(o)) for c, o in done.items()]
            write_atomically(out, json.dumps(rows, indent=1).encode())
    return {cell: done[cell] for cell in cells}


def _read(path: Path) -> dict[Cell, Outcome]:
    if not path.exists():
        return {}
    try:
        return {Cell(**row['cell']): Outcome(**row['outcome']) for row in json.loads(path.read_text())}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f'{path} does not hold outcomes of the grid: name another file with --out') from error


def table(outcomes: Mapping[Cell, Outcome]) -> str:
    """The grid as Markdown, a column for each network: the mean loss at the end, or how the run failed."""
    networks = list(dict.fromkeys(cell.network for cell in outcomes))
    lines = ['| warm-up | rate | seed | ' + ' | '.join(networks) + ' |', '|---:|---:|---:|' + '---|' * len(networks)]
    rows: dict[tuple, dict[str, str]] = {}
    for cell, outcome in outcomes.items():
        rows.setdefault((cell.warm_up, cell.rate, cell.seed), {})[cell.network] = outcome.text(cell)
    for row, texts in rows.items():
        cells = [*map(str, row), *(texts.get(network, '') for network in networks)]
        lines.append(f'| {" | ".join(cells)} |')
    gradients: dict[str, dict[str, None]] = {}
    for cell, outcome in outcomes.items():
        # Of each seed; it does not depend on the learning rate.
        gradients.setdefault(cell.network, {})[f'{outcome.gradient:.1f}'] = None
    first = ', '.join(f'{network} {" and ".join(norms)}' for network, norms in gradients.items())
    return '\n'.join([*lines, '', f'Norm of the first gradient: {first}.'])
