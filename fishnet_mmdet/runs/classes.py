"""AP of each class: which classes to show, in which order, and how it is spread over many classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean

from fishnet_mmdet.runs.comparison import Comparison
from fishnet_mmdet.runs.metrics import class_figures, describe
from fishnet_mmdet.runs.panels import Panel, lines_of
from fishnet_mmdet.runs.run import Run

MOST, OF_MORE = 100, 40
"""Classes up to which all are drawn, and how many of more; the table and the CSV file have all."""


@dataclass(frozen=True)
class Classes:
    """AP of each class at the best validation of each run.

    Attributes:
        kind: 'bbox', 'segm' or ''.
        names: The classes; those with the largest difference between the groups first, of one group by AP.
        values: For each run, by class, in percent; None if there are no objects.
        at: For each run, which validation that is.
        groups: For each run, the number of its group.
    """

    kind: str
    names: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    at: tuple[str, ...]
    groups: tuple[int, ...]

    @property
    def compared(self) -> bool:
        """Whether there are several groups."""
        return len(set(self.groups)) > 1

    @cached_property
    def shown(self) -> list[int]:
        """The classes to draw, by index."""
        if len(self.names) <= MOST:
            return list(range(len(self.names)))
        known = [i for i in range(len(self.names)) if any(column[i] is not None for column in self.values)]
        half = OF_MORE // 2
        return known[:OF_MORE] if self.compared or len(known) <= OF_MORE else known[:half] + known[-half:]

    @property
    def left_out(self) -> int:
        """Number of classes that are not drawn."""
        return len(self.names) - len(self.shown)

    @property
    def selection(self) -> str:
        """Which classes are drawn, and how many are not."""
        which = 'largest differences' if self.compared else 'the best and the worst'
        return f'{which}; {self.left_out:,} of {len(self.names):,} classes are left out'


def classes(c: Comparison) -> list[Classes]:
    """AP of each class, of bbox and segm, where the runs logged it."""
    keys = dict.fromkeys(key for run in c.runs for v in run.log.validations for key in v.figures)
    return [_of_kind(c, kind, of_class) for kind, of_class in class_figures(keys).items()]


def spread(table: Classes, c: Comparison) -> Panel:
    """How many classes are above each AP."""
    best = max((value for column in table.values for value in column if value is not None), default=0)
    places = [float(x) for x in range(0, int(best) + 3, 2)]

    def points(run: Run) -> tuple:
        column = [value for value in table.values[c.runs.index(run)] if value is not None]
        return places, [float(sum(value > x for value in column)) for x in places], None, None

    title = f'{table.kind} classes above each AP, of {len(table.names):,}'.strip()
    slug = '_'.join(filter(None, ['classes', table.kind, 'spread']))
    return Panel(slug, 'Classes', title, 'AP, %', lines_of(c, points), from_zero=True)


def _of_kind(c: Comparison, kind: str, of_class: dict[str, str]) -> Classes:
    bests = [run.best(c.metric) if c.metric else None for run in c.runs]
    columns = [
        [describe(key).shown(best.validation.figures.get(key)) if best else None for key in of_class.values()]
        for best in bests
    ]
    groups = tuple(number for number, group in enumerate(c.groups) for _ in group.runs)
    rows = [(name, [column[i] for column in columns]) for i, name in enumerate(of_class)]
    rows.sort(key=lambda row: _order(row[1], groups))
    at = tuple(run.where(best.validation) if best else '-' for run, best in zip(c.runs, bests, strict=True))
    values = tuple(tuple(values[i] for _, values in rows) for i in range(len(c.runs)))
    return Classes(kind, tuple(name for name, _ in rows), values, at, groups)


def _order(values: Sequence[float | None], groups: Sequence[int]) -> tuple[float, float]:
    """By the difference of the means of the groups, then by AP; classes without objects last."""
    means = []
    for group in dict.fromkeys(groups):
        known = [v for v, g in zip(values, groups, strict=True) if g == group and v is not None]
        means += [mean(known)] if known else []
    return -(max(means) - min(means) if means else -1.0), -max(means, default=-1.0)
