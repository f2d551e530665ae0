"""A run: its log, its config, and what a test of it measured."""

import json
import sys
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.runs.log import STAMP, Figures, Log, Validation, read_log, scalar_files
from fishnet_mmdet.runs.metrics import Metric
from fishnet_mmdet.runs.settings import at, read_settings


class RunsError(UserError):
    """A folder that holds no run that can be shown."""


class NothingLogged(RunsError):
    """A run that has not logged an iteration."""


@dataclass(frozen=True)
class Best:
    """The best validation of a run by one metric.

    Attributes:
        value: The figure, in the unit of the page.
        validation: The validation.
        seconds: Seconds of training before it.
    """

    value: float
    validation: Validation
    seconds: float


@dataclass(frozen=True)
class Run:
    """A run.

    Attributes:
        name: Its name on the page.
        folder: Its work dir.
        log: What it logged.
        settings: Its config; empty if the work dir has none.
        tested: Figures of the newest test in the work dir.
    """

    name: str
    folder: Path
    log: Log
    settings: Mapping[str, Any]
    tested: Figures

    @property
    def by_epoch(self) -> bool:
        """Whether the run counts epochs."""
        return bool(self.log.training) and 'epoch' in self.log.training[-1]

    def position(self, validation: Validation) -> int:
        """Epoch or iteration of a validation."""
        return validation.iteration if validation.epoch is None else validation.epoch

    def where(self, validation: Validation) -> str:
        """Epoch or iteration of a validation, as text."""
        return f'{"iteration" if validation.epoch is None else "epoch"} {self.position(validation)}'

    @cached_property
    def planned(self) -> int | None:
        """Length of the run by its config, in epochs or iterations."""
        length = at(self.settings, f'train_cfg.{"max_epochs" if self.by_epoch else "max_iters"}')
        return length if isinstance(length, int) else None

    @cached_property
    def done(self) -> int:
        """Epochs that are complete, or iterations, as far as the log shows."""
        if not self.by_epoch:
            return self.log.last
        begun = int(self.log.training[-1]['epoch'])
        validated = max((v.epoch or 0 for v in self.log.validations), default=0)
        length, steps = self.log.epoch_length, [int(row['step']) for row in self.log.training]
        interval = median([b - a for a, b in pairwise(steps)] or [0])
        # The last iterations of an epoch may not be logged.
        whole = length is not None and self.log.last + interval > begun * length
        # A run that validates does so after its last epoch, too.
        if self.log.validations and validated < begun == self.planned:
            whole = False
        return max(validated, begun if whole else begun - 1)

    @property
    def unfinished(self) -> bool:
        """Whether the run is shorter than its config says."""
        return self.planned is not None and self.done < self.planned

    @property
    def progress(self) -> str:
        """How far the run is, as text."""
        unit = 'epoch' if self.by_epoch else 'iteration'
        if self.planned is None:
            return f'{self.done} {unit}s'
        return f'{self.done} of {self.planned} {unit}s' if self.unfinished else f'all {self.planned} {unit}s'

    @property
    def written(self) -> str:
        """When the log was last written."""
        newest = max(file.stat().st_mtime for file in scalar_files(self.folder))
        return time.strftime('%Y-%m-%d %H:%M', time.localtime(newest))

    @cached_property
    def _clock(self) -> tuple[list[int], list[float]]:
        """Logged iterations, and the seconds of training up to each."""
        return [int(row['step']) for row in self.log.training], self.log.seconds()

    @property
    def seconds(self) -> float:
        """Seconds of training so far; 0 where the log has no times."""
        return self._clock[1][-1]

    def seconds_at(self, validation: Validation) -> float:
        """Seconds of training before a validation."""
        steps, seconds = self._clock
        place = bisect_right(steps, validation.iteration)
        return seconds[place - 1] if place else 0.0

    def points(self, metric: Metric) -> list[tuple[Validation, float]]:
        """The validations that have a figure, with its value in the unit of the page."""
        values = [(v, metric.shown(v.figures.get(metric.key))) for v in self.log.validations]
        return [(v, value) for v, value in values if value is not None]

    def best(self, metric: Metric, seconds: float | None = None, epoch: int | None = None) -> Best | None:
        """The best validation by a metric.

        Args:
            metric: The metric.
            seconds: Look only at this first part of the training.
            epoch: Look only at validations up to this epoch or iteration.
        """
        points = [
            (v, value)
            for v, value in self.points(metric)
            if (seconds is None or self.seconds_at(v) <= seconds) and (epoch is None or self.position(v) <= epoch)
        ]
        if not points:
            return None
        validation, value = (max if metric.rises else min)(points, key=lambda point: point[1])
        return Best(value, validation, self.seconds_at(validation))

    def gain(self, metric: Metric) -> float | None:
        """By how much the validation at the end of the run is better than all before; None if it is not, or not yet."""
        points = self.points(metric)
        values = [value for _, value in points]
        if (
            self.unfinished
            or len(values) < 2
            or (self.planned and self.by_epoch and points[-1][0].epoch != self.planned)
        ):
            return None
        difference = values[-1] - max(values[:-1]) if metric.rises else min(values[:-1]) - values[-1]
        # What rounds to nothing is not a gain.
        return difference if difference > 0 and float(metric.text(difference)) else None


def read_runs(folders: Sequence[Path], names: Sequence[str] | None = None) -> list[Run]:
    """Reads runs. Those that have logged nothing are named on stderr and passed over, if there are others.

    Args:
        folders: Work dirs, or folders of single starts.
        names: A name for each. Default: names of the folders, without the parts that all of them share.

    Raises:
        RunsError: A folder that does not exist or is given twice; a wrong number of names; no run has logged anything.
    """
    resolved = [folder.resolve() for folder in folders]
    twice = next((f for f, r in zip(folders, resolved, strict=True) if resolved.count(r) > 1), None)
    if twice:
        raise RunsError(f'{twice} is given twice: give each work dir once')
    if names is not None and (len(names) != len(folders) or len(set(names)) < len(names)):
        raise RunsError(f'--names {" ".join(names)}: give {len(folders)} different names, one for each work dir')
    runs, lacking = [], []
    for folder, name in zip(folders, names or short_names(resolved), strict=True):
        try:
            runs.append(_read(folder, name))
        except NothingLogged as error:
            lacking.append(error)
    if not runs:
        raise lacking[0]
    for error in lacking:
        print(f'passed over: {error}', file=sys.stderr)
    return runs


def short_names(folders: Sequence[Path]) -> list[str]:
    """Names of folders that differ, without the words at their beginning and end that all of them have."""
    depth = next(n for n in range(1, 100) if len({f.parts[-n:] for f in folders}) == len(folders))
    names = ['/'.join(folder.parts[-max(depth, 2 if STAMP.fullmatch(folder.name) else 1) :]) for folder in folders]
    return without_shared_words(names)


def without_shared_words(names: Sequence[str]) -> list[str]:
    """Names without the words at their beginning and end that all of them have, where that leaves names."""
    if len(names) == 1:
        return list(names)
    words = [name.replace('-', '_').split('_') for name in names]
    shortest = min(map(len, words))
    first = next((i for i in range(shortest) if len({w[i] for w in words}) > 1), shortest)
    last = next((i for i in range(shortest - first) if len({w[-1 - i] for w in words}) > 1), shortest - first)
    short = ['_'.join(w[first : len(w) - last]) for w in words]
    # A bare number, or nothing, is not a name.
    readable = all(any(letter.isalpha() for letter in name) and len(name) > 1 for name in short)
    return short if readable and len(set(short)) == len(short) else list(names)


def _read(folder: Path, name: str) -> Run:
    if not folder.is_dir():
        raise RunsError(f'{folder}: no such folder; give the work dir of a run')
    files = scalar_files(folder)
    if not files:
        below = sorted({f.parents[2] for f in folder.glob('*/*/vis_data/scalars.json')})
        hint = f'; runs below it: {" ".join(map(str, below[:4]))}' if below else ''
        raise NothingLogged(
            f'{folder} has no TIMESTAMP/vis_data/scalars.json: give the work dir of a run that has begun to train'
            f'{hint or ", and whose config has LocalVisBackend among visualizer.vis_backends"}'
        )
    log = read_log(folder)
    if not log.training:
        raise NothingLogged(
            f'{files[-1]} has no logged iteration yet: wait for the first one, or lower the log interval'
        )
    config = log.starts[-1].folder / 'vis_data' / 'config.py'
    copies = [config, *sorted(folder.glob('*.py'), key=lambda file: -file.stat().st_mtime)]
    settings = next((found for file in copies if (found := read_settings(file))), {})
    return Run(name, folder, log, settings, _tested(folder))


def _tested(folder: Path) -> Figures:
    """What the newest test measured: MMEngine writes it to TIMESTAMP/TIMESTAMP.json."""
    for file in sorted(folder.glob('*/*.json'), reverse=True):
        if STAMP.fullmatch(file.parent.name) and file.stem == file.parent.name:
            try:
                figures = json.loads(file.read_text())
                return {key: value for key, value in figures.items() if isinstance(value, int | float)}
            except (OSError, ValueError, AttributeError):
                continue
    return {}
