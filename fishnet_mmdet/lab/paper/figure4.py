"""Figure 4 of the paper: published top-1 errors against parameters and GMACs, both counted here."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fishnet_mmdet.evaluation.published import FIGURE_4, SOURCES, PublishedError
from fishnet_mmdet.lab.counting import count_model

STYLES = {
    'FishNet': ('o', '#D55E00'), 'FishNeXt': ('*', '#000000'), 'ResNet': ('s', '#0072B2'),
    'DenseNet': ('^', '#009E73'), 'ResNeXt': ('D', '#8A4FA3'),
}  # fmt: skip
"""Marker and colour of a family; people with colour blindness can tell the colours apart."""

OFFSETS = ((0, 8), (0, -14), (13, -3), (-13, -3), (11, 7), (-11, 7), (11, -13), (-11, -13))
"""Offsets of a name from its dot, in points of 1/72 inch; the first free one is used."""


class Dot(NamedTuple):
    """A point of the figure.

    Attributes:
        row: The published error.
        parameters: Parameters of the built network, in millions.
        gmacs: Multiply-adds of its convolutions for a 224 x 224 image, in 1e9.
    """

    row: PublishedError
    parameters: float
    gmacs: float


def dots(rows: Sequence[PublishedError] = FIGURE_4) -> list[Dot]:
    """The rows whose network can be built here, with their counts."""
    counted = ((row, count_model(row.model, row.options)) for row in rows)
    return [Dot(row, c.parameters / 1e6, c.gmacs) for row, c in counted if c is not None]


def draw_figure4(out: Path) -> list[Path]:
    """Draws the figure as `figure4.png` and `figure4.svg`.

    Args:
        out: Folder of the files; it is created if necessary.

    Returns:
        The two files.
    """
    figure = Figure(figsize=(10, 5.6), layout='constrained')
    figure.get_layout_engine().set(rect=(0, 0.15, 1, 0.85))  # room for the sources below
    left, right = figure.subplots(1, 2, sharey=True)
    _panel(left, 'parameters')
    _panel(right, 'gmacs')
    left.set(xlabel='parameters, millions (counted here)', ylabel='top-1 error on ImageNet val, % (published)')
    right.set(xlabel='GMACs of the convolutions at 224 x 224 (counted here)')
    right.legend(frameon=False)
    figure.suptitle('Figure 4 of the FishNet paper: published errors, not measured here')
    figure.text(0.01, 0.01, '\n'.join(_sources()), fontsize=7, color='0.35', va='bottom')

    files = [out / f'figure4.{kind}' for kind in ('png', 'svg')]
    out.mkdir(parents=True, exist_ok=True)
    # With a fixed salt the same drawing gives the same file.
    with matplotlib.rc_context({'svg.hashsalt': 'figure4'}):
        figure.draw_without_rendering()  # computes the axes, which the places of names depend on
        _name_dots(left, 'parameters')
        _name_dots(right, 'gmacs')
        figure.savefig(files[0], dpi=150)
        figure.savefig(files[1], metadata={'Date': None})
    return files


def _sources() -> list[str]:
    """One line for each source, with the errors that come from it."""
    cited: dict[str, dict[str, list[str]]] = {}
    for dot in dots():
        cited.setdefault(dot.row.source, {}).setdefault(dot.row.family, []).append(dot.row.mark)
    lines = [
        f'{"; ".join(" ".join((family, *marks)) for family, marks in families.items())}: {source}'
        for source, families in cited.items()
    ]
    return [*lines, SOURCES]


def _panel(axes: Axes, cost: str) -> None:
    for family, (marker, colour) in STYLES.items():
        line = sorted((getattr(dot, cost), dot.row.error) for dot in dots() if dot.row.family == family)
        if line:
            size = 12 if marker == '*' else 7
            style = dict(marker=marker, ms=size, color=colour, lw=1.2, mec='white', mew=0.7)
            axes.plot(*zip(*line, strict=True), label=family, **style)
    axes.grid(color='0.9')
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    axes.margins(0.08)


def _name_dots(axes: Axes, cost: str) -> None:
    """Writes each dot's name where it covers no dot, no line and no name written before, if there is such a place."""
    points = 72 / axes.figure.dpi  # from pixels
    corners = [points * axes.transData.transform(line.get_xydata()) for line in axes.lines]
    taken = [_box(x, y, 10, 10) for line in corners for x, y in line]
    on_lines = [
        _box(*(start + (end - start) * t), 2, 2)
        for line in corners
        for start, end in pairwise(line)
        for t in np.linspace(0, 1, 60)
    ]
    choices = []
    for dot in dots():
        x, y = points * axes.transData.transform(place := (getattr(dot, cost), dot.row.error))
        boxes = {(dx, dy): _box(x + dx, y + dy + 3, 5 * len(dot.row.mark) + 2, 8) for dx, dy in OFFSETS}
        choices.append((dot.row, place, boxes))
    choices.sort(key=lambda choice: sum(not _overlaps(box, [*taken, *on_lines]) for box in choice[2].values()))
    # Dots with the fewest free places come first.
    for row, place, boxes in choices:
        # A name on a line can still be read, a name on another name cannot.
        offset = min(OFFSETS, key=lambda o: (_overlaps(boxes[o], taken), _overlaps(boxes[o], on_lines)))
        taken.append(boxes[offset])
        colour = STYLES[row.family][1]
        axes.annotate(row.mark, place, offset, textcoords='offset points', ha='center', fontsize=8, color=colour)


def _box(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    """Left, bottom, right, top of a box around a place."""
    return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _overlaps(box: Sequence[float], others: Sequence[Sequence[float]]) -> int:
    """Number of the other boxes that a box overlaps."""
    one, many = np.array(box), np.array(others)
    return int(((one[:2] < many[:, 2:]) & (one[2:] > many[:, :2])).all(axis=1).sum())
