"""A bar plot of the AP of single classes, readable for one class and for a thousand."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fishnet_mmdet.evaluation.class_rows import ClassRow, mean_of

COLOURS = ('#0072B2', '#D55E00')
"""Colours of the figures; people with colour blindness can tell them apart."""

CLASSES_OF_A_COLUMN, COLUMNS = 42, 4
LONGEST_NAME = 32
BEHIND_TEXT = dict(facecolor='white', edgecolor='none', pad=0.6)
WIDTH = 7.2
"""Of a column, in inches."""


def draw_classes(rows: Sequence[ClassRow], title: str, out: Path) -> Figure:
    """Draws a bar for each class and figure, from top to bottom, with its value and the number of objects.

    Args:
        rows: The classes in the order of the plot.
        title: Text above the plot.
        out: The PNG to write.

    Returns:
        The figure, for tests and notebooks.
    """
    names = list(dict.fromkeys(name for row in rows for name in row.figures))
    columns = min(COLUMNS, math.ceil(len(rows) / CLASSES_OF_A_COLUMN))
    length = math.ceil(len(rows) / columns)
    figure = Figure(figsize=(WIDTH * columns, 1.7 + length * (0.12 + 0.14 * len(names))), layout='constrained')
    figure.suptitle(f'{title}\nin brackets: number of objects', fontsize=11, parse_math=False)
    # The mean of one class is the class itself.
    means = {name: mean_of(rows, name) if len(rows) > 1 else math.nan for name in names}
    for number, axes in enumerate(figure.subplots(1, columns, squeeze=False)[0]):
        _draw_column(axes, rows[number * length : (number + 1) * length], means)
        axes.set(ylim=(length - 0.4, -0.6))
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', ncols=len(labels), frameon=False)
    figure.savefig(out, dpi=110)
    return figure


def _draw_column(axes: Axes, rows: Sequence[ClassRow], means: Mapping[str, float]) -> None:
    height = 0.8 / len(means)
    for order, (name, mean) in enumerate(means.items()):
        colour = COLOURS[order % len(COLOURS)]
        places = [place - 0.4 + height * (order + 0.5) for place in range(len(rows))]
        values = [row.figures.get(name) for row in rows]
        lengths = [100 * (value or 0) for value in values]
        axes.barh(places, lengths, height, color=colour, label=name, zorder=2)
        for place, end, value in zip(places, lengths, values, strict=True):
            text = 'no object' if value is None else f'{end:.1f}'
            axes.text(end + 0.8, place, text, va='center', fontsize=7.5, color='#333333', bbox=BEHIND_TEXT, zorder=3)
        if not math.isnan(mean):
            label = f'mean of {name}: {100 * mean:.1f}'
            axes.axvline(100 * mean, color=colour, linestyle='--', linewidth=1, label=label, zorder=1)
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows], fontsize=8.5, parse_math=False)
    axes.set(xlim=(0, 107), xlabel='AP, %', xticks=range(0, 101, 20))
    axes.tick_params(axis='y', length=0)
    axes.grid(axis='x', alpha=0.3, zorder=0)
    axes.spines[['top', 'right', 'left']].set_visible(False)


def _label(row: ClassRow) -> str:
    name = row.name
    if len(name) > LONGEST_NAME:
        half = LONGEST_NAME // 2
        name = f'{name[:half]}…{name[-half + 1 :]}'
    return name if row.objects is None else f'{name}  ({row.objects:,})'
