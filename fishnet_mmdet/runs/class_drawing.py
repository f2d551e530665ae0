"""AP of each class: a row for each class, a dot for each run."""

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from fishnet_mmdet.runs.classes import Classes
from fishnet_mmdet.runs.drawing import (
    INK,
    QUIET,
    RULE,
    SIZE,
    STYLE,
    colour,
    number,
    png_of,
    short,
    svg_of,
    ticks,
    widest,
)

ROW = 0.21
"""Height of a row in inches."""


def draw_classes(table: Classes) -> tuple[str, bytes]:
    """Draws AP of each class, of many classes those that `table.shown` names.

    Returns:
        The SVG and the PNG.
    """
    with rc_context(STYLE):
        rows = _rows(table)
        height = (1.1 if table.left_out else 0.95) + ROW * len(rows)
        figure = Figure(figsize=(SIZE[0], height))
        axes = figure.add_subplot()
        for place, index in enumerate(rows):
            if index is None:
                between = rows[place + 1] - rows[place - 1] - 1
                axes.text(0, place, f'\u22ee  {between:,} classes between', color=QUIET, va='center', fontsize=8)
            else:
                _draw_row(axes, table, place, index)
        axes.set_yticks(range(len(rows)), ['' if i is None else short(table.names[i], 24) for i in rows], color=INK)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
        axes.xaxis.set_major_locator(ticks(6))
        axes.xaxis.set_major_formatter(FuncFormatter(number))
        axes.tick_params(length=0)
        axes.grid(axis='x', color=RULE, lw=0.8)
        axes.set_axisbelow(True)
        axes.spines[:].set_visible(False)
        axes.set_xlabel(f'{table.kind} AP of the class, %'.strip())
        figure.canvas.draw()
        left = (widest(axes, figure) + 12) / (72 * SIZE[0])
        above = 0.5 if table.left_out else 0.35
        axes.set_position((left, 0.42 / height, 0.965 - left, 1 - (0.42 + above) / height))
        place = dict(x=4 / (72 * SIZE[0]), va='center')
        title = f'{table.kind} AP of each class, %'.strip()
        figure.text(y=1 - 0.14 / height, s=title, weight='bold', fontsize=10, **place)
        if table.left_out:
            figure.text(y=1 - 0.34 / height, s=table.selection, color=QUIET, fontsize=8, **place)
        return svg_of(figure), png_of(figure)


def _rows(table: Classes) -> list[int | None]:
    """The classes to draw, by index, with None where others are left out between them."""
    rows: list[int | None] = []
    for index in table.shown:
        if rows and index != rows[-1] + 1:
            rows.append(None)
        rows.append(index)
    return rows


def _draw_row(axes: Axes, table: Classes, place: int, index: int) -> None:
    values = [column[index] for column in table.values]
    known = [value for value in values if value is not None]
    if not known:
        axes.text(0, place, 'no objects', color=QUIET, va='center', fontsize=8)
        return
    axes.plot([min(known), max(known)], [place, place], color=RULE, lw=2.5, solid_capstyle='round', zorder=1)
    for group in dict.fromkeys(table.groups):
        of_group = [v for v, g in zip(values, table.groups, strict=True) if g == group and v is not None]
        style = dict(color=colour(group), zorder=2)
        if table.groups.count(group) > 1:
            axes.plot(of_group, [place] * len(of_group), 'o', ms=3.5, alpha=0.55, **style)
        if of_group:
            axes.plot([sum(of_group) / len(of_group)], [place], 'o', ms=6, **style)
