"""What is drawn: each panel as titles, axes and lines, without any drawing."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from fishnet_mmdet.runs.comparison import Comparison, name_in_group
from fishnet_mmdet.runs.run import Run

MOST_LOSSES = 8
"""Parts of the loss that get a panel; the CSV file has all."""

SMOOTHED_FROM = 20
"""Points from which on a curve is smoothed."""


@dataclass(frozen=True)
class Line:
    """A curve.

    Attributes:
        name: The run.
        group: Number of its group, which has a colour.
        place: Number of the run in its group, which has a line style.
        label: What stands at its end; '' for all but the first run of a group.
        x: Places on the x axis.
        y: Values.
        smooth: Smoothed values, if the curve has many points: those are drawn, and `y` faintly behind them.
        best: Index of the point to mark.
    """

    name: str
    group: int
    place: int
    label: str
    x: list[float]
    y: list[float]
    smooth: list[float] | None = None
    best: int | None = None


@dataclass(frozen=True)
class Panel:
    """Curves over one pair of axes.

    Attributes:
        slug: Name of its file.
        section: The section of the page that it belongs to.
        title: What is drawn, with the unit.
        x_label: Title of the x axis.
        lines: The curves.
        log: Whether the y axis is logarithmic.
        from_zero: Whether the y axis begins at 0.
        x_end: Where the x axis ends; None for the end of the longest curve.
        note: What to know about the curves.
    """

    slug: str
    section: str
    title: str
    x_label: str
    lines: tuple[Line, ...]
    log: bool = False
    from_zero: bool = False
    x_end: float | None = None
    note: str = ''


def panels(c: Comparison) -> list[Panel]:
    """The panels that the runs have figures for."""
    return [panel for panel in [*_quality(c), *_training(c)] if panel.lines]


def smoothed(values: list[float], average: Callable = np.mean) -> list[float] | None:
    """The running average of a curve over a twentieth of its points; None for a curve of few points.

    The window is centred, and shorter near the ends.
    """
    if len(values) < SMOOTHED_FROM:
        return None
    half = max(1, len(values) // 40)
    array, reach = np.asarray(values), [min(half, i, len(values) - 1 - i) for i in range(len(values))]
    return [float(average(array[i - r : i + r + 1])) for i, r in enumerate(reach)]


def _quality(c: Comparison) -> Iterator[Panel]:
    by_epoch = all(run.by_epoch for run in c.runs)
    for metric in c.metrics[:4]:
        unit = f', {metric.unit}' if metric.unit else ''
        title, slug = f'{metric.title}{unit}', _slug(metric.key)

        def line(run: Run, x: Callable, metric=metric) -> tuple:
            points = run.points(metric)
            values = [value for _, value in points]
            best = values.index((max if metric.rises else min)(values)) if values else None
            return [x(run, v) for v, _ in points], values, None, best

        over = 'epoch' if by_epoch else 'iteration'
        where = (lambda run, v: v.epoch) if by_epoch else (lambda run, v: v.iteration)
        yield Panel(slug, 'Quality', title, over, lines_of(c, lambda run, f=line, w=where: f(run, w)))
        if metric == c.metric and all(run.seconds for run in c.runs):
            unit_of_time, scale = _time_unit(max(run.seconds for run in c.runs))
            lines = lines_of(c, lambda run, f=line, s=scale: f(run, lambda r, v: r.seconds_at(v) / s))
            yield Panel(f'{slug}_time', 'Quality', f'{title}, over time', f'training time, {unit_of_time}', lines)


def _slug(key: str) -> str:
    """The name of a figure as the name of a file."""
    return re.sub(r'[^\w.@-]', '_', key)


def _time_unit(seconds: float) -> tuple[str, float]:
    return ('hours', 3600) if seconds > 2 * 3600 else ('minutes', 60) if seconds > 120 else ('seconds', 1)


def _training(c: Comparison) -> Iterator[Panel]:
    lengths = [run.log.epoch_length if run.by_epoch else None for run in c.runs]
    by_epoch = all(lengths)
    length_of = {run.name: length if by_epoch else 1 for run, length in zip(c.runs, lengths, strict=True)}
    end = max(run.log.last / length_of[run.name] for run in c.runs)

    def panel(
        key: str, section: str, title: str, factor: float = 1, average: Callable | None = np.mean, **style: bool | str
    ) -> Panel:
        def line(run: Run) -> tuple:
            points = [(s / length_of[run.name], factor * v) for s, v in zip(*run.log.curve(key), strict=True)]
            points = [point for point in points if math.isfinite(point[1])]
            values = [y for _, y in points]
            return [x for x, _ in points], values, smoothed(values, average) if average else None, None

        lines = lines_of(c, line)
        style.setdefault('log', _wide(lines))
        return Panel(_slug(key), section, title, 'epoch' if by_epoch else 'iteration', lines, x_end=end, **style)

    keys = list(dict.fromkeys(key for run in c.runs for row in run.log.training for key in row))
    for key in _losses(keys):
        yield panel(key, 'Losses', key)
    rate = next((k for k in ('lr', 'base_lr') if k in keys), next((k for k in keys if k.endswith('/lr')), None))
    if rate:
        yield panel(rate, 'Training', 'learning rate', average=None, log=False, from_zero=True)
    if 'grad_norm' in keys:
        ended = any((steps := run.log.curve('grad_norm')[0]) and steps[-1] < 0.9 * run.log.last for run in c.runs)
        note = 'logged only while gradients are clipped' if ended else ''
        yield panel('grad_norm', 'Training', 'gradient norm, before clipping', note=note)
    if 'time' in keys:
        yield panel('time', 'Training', 'time of an iteration, ms', 1000, np.median, log=False, from_zero=True)
    if 'memory' in keys:
        yield panel('memory', 'Training', 'GPU memory, peak so far, GiB', 1 / 1024, None, log=False, from_zero=True)


def _losses(keys: list[str]) -> list[str]:
    """The loss, and its parts; those of the single layers of a decoder, such as `d0.loss_cls`, last."""
    parts = [key for key in keys if 'loss' in key and key != 'loss']
    parts.sort(key=lambda key: '.' in key)
    return [*(['loss'] if 'loss' in keys else []), *parts[:MOST_LOSSES]]


def _wide(lines: tuple[Line, ...]) -> bool:
    """Whether the values are so far apart that a logarithmic axis shows more."""
    values = sorted(value for line in lines for value in line.smooth or line.y)
    return bool(values) and values[0] > 0 and values[-1] > 8 * values[len(values) // 4]


def lines_of(c: Comparison, points: Callable[[Run], tuple]) -> tuple[Line, ...]:
    """The curves of all runs that have points.

    Args:
        c: The runs.
        points: Gives the x, y, smoothed y and index of the best point of a run.
    """
    lines = []
    for number, group in enumerate(c.groups):
        for place, run in enumerate(group.runs):
            x, y, smooth, best = points(run)
            if x:
                label = '' if any(line.group == number for line in lines) else group.name
                lines.append(Line(name_in_group(run, group), number, place, label, x, y, smooth, best))
    return tuple(lines)
