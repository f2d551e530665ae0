"""Schedules of the learning rate: steps and phases that a run never reaches."""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mmengine.config import Config

from fishnet_mmdet.base.config_nodes import mappings, name_of
from fishnet_mmdet.preflight.coco import CocoData
from fishnet_mmdet.preflight.findings import Finding

PROCESSES = {'pytorch': 'WORLD_SIZE', 'slurm': 'SLURM_NTASKS', 'mpi': 'OMPI_COMM_WORLD_SIZE'}
"""The environment variable in which each launcher gives the number of processes."""


@dataclass(frozen=True)
class Length:
    """How long a training is.

    Attributes:
        by_epoch: Whether its loop counts epochs.
        last: Epochs or iterations in all.
        per_epoch: Iterations of an epoch; None if they are not known.
    """

    by_epoch: bool
    last: int
    per_epoch: int | None = None

    @property
    def unit(self) -> str:
        """What the loop counts."""
        return 'epochs' if self.by_epoch else 'iterations'

    def counted(self, by_epoch: bool) -> float | None:
        """The length in epochs or in iterations; None if it is not known."""
        if by_epoch == self.by_epoch:
            return self.last
        if not self.per_epoch:
            return None
        return self.last / self.per_epoch if by_epoch else self.last * self.per_epoch

    def described(self, by_epoch: bool) -> str:
        """The same as text."""
        unit = 'epochs' if by_epoch else 'iterations'
        if by_epoch == self.by_epoch:
            return f'{self.last} {unit}'
        count = self.counted(by_epoch)
        text = f'{count:.1f}'.removesuffix('.0')
        return f'{text} {unit} ({self.last} {self.unit}, {self.per_epoch} iterations an epoch)'


def length_of(cfg: Config, data: CocoData | None) -> Length | None:
    """The length of a training; None if the config does not say it.

    Args:
        cfg: A whole config.
        data: Its COCO data, from which the iterations of an epoch follow; None if they are not known.
    """
    loop = cfg.get('train_cfg') or {}
    by_epoch = 'max_epochs' in loop
    last = loop.get('max_epochs' if by_epoch else 'max_iters')
    return Length(by_epoch, last, _per_epoch(cfg, data) if data else None) if isinstance(last, int) else None


def _per_epoch(cfg: Config, data: CocoData) -> int | None:
    """Iterations of an epoch; None with samplers that are not known here, and without COCO data."""
    loader = cfg.get('train_dataloader') or {}
    samplers = [name_of(loader.get(key) or {}) for key in ('sampler', 'batch_sampler')]
    if samplers[0] not in ('DefaultSampler', 'None') or samplers[1] not in ('AspectRatioBatchSampler', 'None'):
        return None
    images, batch = _images(loader.get('dataset'), data), loader.get('batch_size')
    if not images or not isinstance(batch, int) or batch < 1:
        return None
    # With more processes than are known here an epoch is shorter; then less is found.
    each = math.ceil(images / _processes(cfg))
    drops = loader.get('drop_last') or (loader.get('batch_sampler') or {}).get('drop_last')
    count = each // batch if drops else math.ceil(each / batch)
    most = loader.get('num_batch_per_epoch')
    return min(count, most) if isinstance(most, int) else count


def _processes(cfg: Config) -> int:
    text = os.environ.get(PROCESSES.get(cfg.get('launcher'), ''), '')
    return int(text) if text.isdecimal() and int(text) else 1


def _images(dataset: object, data: CocoData) -> int | None:
    """Number of images of a data set; None if it has another form than COCO's, or a wrapper that is not known here."""
    if not isinstance(dataset, Mapping):
        return None
    kind = name_of(dataset)
    if kind == 'ConcatDataset':
        counts = [_images(part, data) for part in dataset.get('datasets', ())]
        return sum(counts) if counts and all(counts) and dataset.get('indices') is None else None
    if kind in ('RepeatDataset', 'MultiImageMixDataset'):
        inner = _images(dataset.get('dataset'), data)
        return inner * dataset.get('times', 1) if inner else None
    for loader in data.read_loaders:
        if any(node is dataset for node in loader.nodes):
            return len(loader.take(data.files[loader.file]))
    return None


def check_schedules(cfg: Config, length: Length) -> Iterator[Finding]:
    """Checks that a run reaches all of its schedule.

    Args:
        cfg: A whole config.
        length: How long the run is.
    """
    for node in mappings(cfg.get('param_scheduler')):
        if 'type' in node:
            yield from _check(node, length)


def _check(node: Mapping, length: Length) -> Iterator[Finding]:
    name, by_epoch = name_of(node), node.get('by_epoch', True)
    begin, end = node.get('begin', 0), node.get('end')
    if isinstance(end, int) and end <= begin:
        yield Finding('setting-invalid', 'train', '', f'{name}: begin={begin} must be less than end={end}')
    if by_epoch and not length.by_epoch and not node.get('convert_to_iter_based'):
        text = f'{name}: by_epoch=True, the default, has no effect in a loop by iterations: set by_epoch=False'
        yield Finding('no-effect', 'train', '', text)
        return
    last = length.counted(by_epoch)
    if last is None:
        return
    why = f'the run has {length.described(by_epoch)}' + ', and by_epoch=True is the default' * ('by_epoch' not in node)
    if begin >= last:
        yield Finding('no-effect', 'train', '', f'{name}: begin={begin}, but {why}')
        return
    # MMEngine counts steps from `begin`.
    if late := [step for step in _steps(node) if begin + step >= last]:
        counted = f', counted from begin={begin},' * bool(begin)
        yield Finding('no-effect', 'train', '', f'{name}: {_listed(late, counted)} not reached: {why}')
    if name in ('LinearLR', 'ConstantLR') and isinstance(end, int) and end > last:
        text = f'{name}: the warm-up never reaches its end={end}: {why}'
        rest = f'the run after begin={begin}' if begin else 'the run'
        fix = f'set end={begin + max(1, round((last - begin) / 10))}, a tenth of {rest}, or train longer'
        yield Finding('no-effect', 'train', '', text, fix=fix)


def _steps(node: Mapping) -> list[int]:
    """When a schedule of steps changes: its milestones, or its first step."""
    if isinstance(size := node.get('step_size'), int):
        return [size]
    return [step for step in node.get('milestones') or () if isinstance(step, int)]


def _listed(steps: list[int], counted: str) -> str:
    numbers = ', '.join(map(str, steps))
    return f'milestone {numbers}{counted} is' if len(steps) == 1 else f'milestones {numbers}{counted} are'
