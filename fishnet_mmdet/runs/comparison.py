"""Several runs: which of them repeat each other with other seeds, and by which figure they are compared."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any

from fishnet_mmdet.runs.metrics import Metric, describe, main_metrics
from fishnet_mmdet.runs.run import Best, Run, RunsError, without_shared_words
from fishnet_mmdet.runs.settings import SEED, Difference, at, differences, same_but_for_the_seed

DATA = ('ann_file', 'data_root', 'data_prefix', 'metainfo', 'indices')
"""Settings of a data set that say which images and classes it has."""


@dataclass(frozen=True)
class Group:
    """Runs of one config that differ in nothing but their seeds, often a single run.

    Attributes:
        name: Its name on the page.
        runs: The runs.
    """

    name: str
    runs: tuple[Run, ...]

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The config of the runs; of several, with all their seeds."""
        settings = self.runs[0].settings
        if len(self.runs) == 1 or not settings:
            return settings
        seeds = sorted((at(run.settings, SEED) for run in self.runs), key=str)
        return {**settings, 'randomness': {**at(settings, 'randomness', {}), 'seed': seeds}}

    @property
    def repeated_seed(self) -> int | None:
        """A seed that several of the runs have; None if there is none."""
        seeds = [at(run.settings, SEED) for run in self.runs]
        return next((seed for seed in seeds if seed is not None and seeds.count(seed) > 1), None)

    def bests(self, metric: Metric, seconds: float | None = None, epoch: int | None = None) -> list[Best]:
        """The best validation of each run that has one; see `Run.best`."""
        found = [run.best(metric, seconds, epoch) for run in self.runs]
        return [best for best in found if best]

    def mean(self, metric: Metric, seconds: float | None = None, epoch: int | None = None) -> float | None:
        """Mean of the best figures of the runs."""
        values = [best.value for best in self.bests(metric, seconds, epoch)]
        return mean(values) if values else None


@dataclass(frozen=True)
class Comparison:
    """Runs that are shown together.

    Attributes:
        runs: All runs, group by group.
        groups: The groups, in the order in which their first runs were given.
        metrics: Figures that are drawn over epochs; runs are compared by the first one. May be empty.
    """

    groups: tuple[Group, ...]
    metrics: tuple[Metric, ...]

    @property
    def runs(self) -> list[Run]:
        """All runs, group by group."""
        return [run for group in self.groups for run in group.runs]

    @property
    def metric(self) -> Metric | None:
        """The figure by which runs are compared."""
        return self.metrics[0] if self.metrics else None

    @cached_property
    def differences(self) -> list[Difference]:
        """The settings that differ between the groups, with a value for each; none where a config is not known."""
        known = [group.settings for group in self.groups]
        return differences(known) if all(known) else []

    @cached_property
    def validation_data(self) -> list[Difference]:
        """Settings of the validation's data set that differ."""
        known = [at(run.settings, 'val_dataloader.dataset') for run in self.runs if run.settings]
        sets = [{key: data.get(key) for key in DATA} for data in known if isinstance(data, dict)]
        return differences(sets) if len(sets) > 1 else []

    @property
    def other_data(self) -> bool:
        """Whether runs were validated on other images or classes; the same names in another folder may be the same."""
        return any(
            len({Path(text.strip("'")).name for text in d.texts()}) > 1
            for d in self.validation_data
            if d.key != 'data_root'
        )

    @cached_property
    def common(self) -> int | None:
        """The last epoch or iteration at which all runs have validated, if they differ in it."""
        runs = [run for run in self.runs if self.metric and run.points(self.metric)]
        reached = {run.position(run.points(self.metric)[-1][0]) for run in runs}
        one_unit = len({run.by_epoch for run in runs}) == 1
        return min(reached) if one_unit and len(reached) > 1 else None

    @property
    def limit(self) -> int | None:
        """The epoch or iteration up to which runs are compared: the common one while any of them goes on."""
        return self.common if any(run.unfinished for run in self.runs) else None

    def ranked(self) -> list[Group]:
        """The groups with a figure, the best first."""
        if not self.metric:
            return []
        with_figure = [group for group in self.groups if group.bests(self.metric, epoch=self.limit)]
        return sorted(with_figure, key=lambda g: g.mean(self.metric, epoch=self.limit), reverse=self.metric.rises)


def compare(runs: Sequence[Run], metric: str | None = None, grouped: bool = True) -> Comparison:
    """Groups runs and chooses the figure to compare them by.

    Args:
        runs: The runs.
        metric: Name of a figure in the log, with or without its prefix. Default: one that most runs have.
        grouped: Whether runs that differ only in their seeds are one group.

    Raises:
        RunsError: No run has this figure.
    """
    groups: list[list[Run]] = []
    for run in runs:
        repeated = [g for g in groups if grouped and same_but_for_the_seed(g[0].settings, run.settings)]
        (repeated[0].append(run) if repeated else groups.append([run]))
    keys = [list(dict.fromkeys(key for v in run.log.validations for key in v.figures)) for run in runs]
    metrics = main_metrics(key for of_run in keys for key in of_run)
    metrics.sort(key=lambda m: -sum(m.key in of_run for of_run in keys))
    if metric is not None:
        metrics = _chosen_first(metric, metrics, {key for of_run in keys for key in of_run})
    names = [_name(group) for group in groups]
    names = [group[0].name if names.count(name) > 1 else name for name, group in zip(names, groups, strict=True)]
    titles = without_shared_words(names)
    return Comparison(tuple(Group(t, tuple(g)) for t, g in zip(titles, groups, strict=True)), tuple(metrics))


def _chosen_first(name: str, metrics: list[Metric], keys: set[str]) -> list[Metric]:
    found = [d for key in sorted(keys) if name in (key, key.rpartition('/')[2]) and (d := describe(key))]
    if not found:
        known = ', '.join(sorted(key for key in keys if describe(key))) or 'none: no run has validated'
        raise RunsError(f'--metric {name}: no run has logged it; logged are {known}')
    return found[:1] + [m for m in metrics if m != found[0]]


def _name(group: list[Run]) -> str:
    names = [run.name for run in group]
    if len(names) == 1:
        return names[0]
    common = re.sub(r'([-_. ]+(seed|s|run)?)?[-_. ]*\d*$', '', os.path.commonprefix(names))
    return common if len(common) > 1 else names[0]


def name_in_group(run: Run, group: Group) -> str:
    """What tells a run from the others of its group."""
    if len(group.runs) == 1:
        return group.name
    seeds = [at(other.settings, SEED) for other in group.runs]
    seed = at(run.settings, SEED)
    return f'{group.name}, seed {seed}' if seeds.count(seed) == 1 and seed is not None else run.name
