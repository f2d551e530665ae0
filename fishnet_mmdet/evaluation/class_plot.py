"""A bar plot of the AP of single classes, readable for one class and for a thousand."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fishnet_mmdet.evaluation.class_rows import ClassRow, by_objects, distribution, mean_of, percent, worst_of

COLOURS = ('#0072B2', '#D55E00')
"""Colours of the figures; people with colour blindness can tell them apart."""

CLASSES_OF_A_COLUMN, COLUMNS = 42, 4
ENDS = 40
"""Best and worst classes that are drawn, of more classes than fit into the columns."""

LONGEST_NAME = 32
BEHIND_TEXT = dict(facecolor='white', edgecolor='none', pad=0.6)
AP_AXIS = dict(xlim=(0, 107), xlabel='AP, %', xticks=range(0, 101, 20))
WIDTH = 7.2
"""Of a column, in inches."""


def draw_classes(rows: Sequence[ClassRow], title: str, out: Path) -> Figure:
    """Draws a bar for each class and figure, from top to bottom, with its value and the number of objects.

    Of more than 168 classes: the best and the worst, how many classes have which AP, and the AP by number of objects.

    Args:
        rows: The classes in the order of the plot, the best first.
        title: Text above the plot.
        out: The PNG to write.

    Returns:
        The figure, for tests and notebooks.
    """
    # The mean of one class is the class itself.
    names = list(dict.fromkeys(name for row in rows for name in row.figures))
    means = {name: mean_of(rows, name) if len(rows) > 1 else math.nan for name in names}
    figure = (_draw_all if len(rows) <= CLASSES_OF_A_COLUMN * COLUMNS else _draw_ends)(rows, means, title)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', ncols=len(labels), frameon=False)
    figure.savefig(out, dpi=110)
    return figure


def _draw_all(rows: Sequence[ClassRow], means: Mapping[str, float], title: str) -> Figure:
    columns = min(COLUMNS, math.ceil(len(rows) / CLASSES_OF_A_COLUMN))
    length = math.ceil(len(rows) / columns)
    figure = _figure(columns, length, len(means), f'{title}\nin brackets: number of objects')
    for number, axes in enumerate(figure.subplots(1, columns, squeeze=False)[0]):
        _draw_column(axes, rows[number * length : (number + 1) * length], means)
        axes.set(ylim=(length - 0.4, -0.6))
    return figure


def _draw_ends(rows: Sequence[ClassRow], means: Mapping[str, float], title: str) -> Figure:
    names = list(means)
    with_objects = [row for row in rows if row.figures.get(names[0]) is not None]
    best = with_objects[:ENDS]
    worst = worst_of(with_objects[ENDS:], names[0], ENDS)
    left_out = len(rows) - len(best) - len(worst)
    note = (
        f'{len(rows):,} classes: the best {len(best)} and the worst {len(worst)} by {names[0]}; {left_out:,} classes '
        f'are left out of these two columns, the table has all\nin brackets: number of objects; of equal classes those '
        'with the most objects come first'
    )
    figure = _figure(3, ENDS, len(means), f'{title}\n{note}')
    grid = figure.add_gridspec(2, 3)
    for place, part, which in ((0, best, 'best'), (1, worst, 'worst')):
        axes = figure.add_subplot(grid[:, place])
        _draw_column(axes, part, means)
        axes.set(ylim=(ENDS - 0.4, -0.6))
        axes.set_title(f'The {len(part)} {which}', fontsize=10)
    axes = figure.add_subplot(grid[0, 2])
    _draw_bars(axes, distribution(rows, names), names, '{:,}')
    axes.set_title(f'How many of the {len(rows):,} classes have which AP, in %', fontsize=10)
    axes.set_xlabel('classes')
    if by_number := by_objects(rows, names):
        axes = figure.add_subplot(grid[1, 2])
        _draw_bars(axes, [(name, _percents(values)) for name, values in by_number], names, '{:.1f}')
        axes.set_title('Mean AP of the classes with so many objects', fontsize=10)
        axes.set(**AP_AXIS)
    return figure


def _figure(columns: int, length: int, figures: int, title: str) -> Figure:
    figure = Figure(figsize=(WIDTH * columns, 1.7 + length * (0.12 + 0.14 * figures)), layout='constrained')
    figure.suptitle(title, fontsize=11, parse_math=False)
    return figure


def _draw_column(axes: Axes, rows: Sequence[ClassRow], means: Mapping[str, float]) -> None:
    entries = [(_label(row), _percents([row.figures.get(name) for name in means])) for row in rows]
    _draw_bars(axes, entries, list(means), '{:.1f}')
    for order, (name, mean) in enumerate(means.items()):
        if not math.isnan(mean):
            label = f'mean of {name}: {100 * mean:.1f}'
            colour = COLOURS[order % len(COLOURS)]
            axes.axvline(100 * mean, color=colour, linestyle='--', linewidth=1, label=label, zorder=1)
    axes.set(**AP_AXIS)


def _percents(figures: Sequence[float | None]) -> list[float | None]:
    return [percent(figure) for figure in figures]


def _draw_bars(
    axes: Axes, rows: Sequence[tuple[str, Sequence[float | None]]], names: Sequence[str], number: str
) -> None:
    """A row for each label with its values: a bar and a number for each name."""
    height = 0.8 / len(names)
    for order, name in enumerate(names):
        places = [place - 0.4 + height * (order + 0.5) for place in range(len(rows))]
        values = [of_row[order] for _, of_row in rows]
        lengths = [value or 0 for value in values]
        axes.barh(places, lengths, height, color=COLOURS[order % len(COLOURS)], label=name, zorder=2)
        for place, end, value in zip(places, lengths, values, strict=True):
            text = 'no object' if value is None else number.format(value)
            axes.annotate(
                text, (end, place), (3, 0), textcoords='offset points', va='center', fontsize=7.5, color='#333333',
                bbox=BEHIND_TEXT, zorder=3,
            )  # fmt: skip
    axes.set_yticks(range(len(rows)), [label for label, _ in rows], fontsize=8.5, parse_math=False)
    axes.set(ylim=(len(rows) - 0.4, -0.6), xmargin=0.12)
    axes.tick_params(axis='y', length=0)
    axes.grid(axis='x', alpha=0.3, zorder=0)
    axes.spines[['top', 'right', 'left']].set_visible(False)


def _label(row: ClassRow) -> str:
    name = row.name
    if len(name) > LONGEST_NAME:
        half = LONGEST_NAME // 2
        name = f'{name[:half]}…{name[-half + 1 :]}'
    return name if row.objects is None else f'{name}  ({row.objects:,})'
