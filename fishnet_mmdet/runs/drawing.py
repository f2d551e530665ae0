"""Panels drawn by Matplotlib: as PNG, and as SVG whose colours the page sets, for light and dark."""

import io
import json
import re

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from fishnet_mmdet.runs.coinciding import coinciding, note
from fishnet_mmdet.runs.panels import Line, Panel

COLOURS = ['#0a62b0', '#c2470a', '#00785c', '#8b3fa0', '#8f6500', '#b5286c', '#4b5563', '#27798f']
"""Colours of the groups of runs on white; people with colour blindness can tell the first ones apart."""

ON_DARK = ['#62aef2', '#f5925a', '#3dc79c', '#d092e4', '#e3b74e', '#f57fb4', '#b3bbc7', '#7ccbe0']
"""The same on the dark page."""

INK, QUIET, RULE, PAPER = '#1d2329', '#5c6570', '#e2e6ea', '#ffffff'
DASHES = ['-', (0, (5, 1.6)), (0, (1.4, 1.4)), (0, (6, 1.5, 1.4, 1.5))]
"""Line styles of the runs of a group."""

VARIABLES = {
    **{colour: f'var(--c{i})' for i, colour in enumerate(COLOURS)},
    INK: 'var(--ink)', QUIET: 'var(--quiet)', RULE: 'var(--rule)', PAPER: 'var(--card)',
}  # fmt: skip

STRIPE = 6
"""Length of a stripe of curves that coincide, in widths of the line."""

SIZE = (4.5, 3.0)
"""Width and height of a panel in inches; the page shows 72 units to the inch."""

MOST_POINTS = 600
"""Points of a curve that are drawn, about."""

MOST_LABELS = 6
LABEL_LENGTH = 16
STYLE = {
    'font.family': ['DejaVu Sans'], 'font.size': 9, 'svg.fonttype': 'none', 'svg.hashsalt': 'fishnet-mmdet',
    'text.color': INK, 'axes.edgecolor': QUIET, 'axes.labelcolor': QUIET, 'xtick.color': QUIET, 'ytick.color': QUIET,
    'figure.facecolor': PAPER, 'axes.facecolor': PAPER, 'path.simplify': True, 'text.parse_math': False,
}  # fmt: skip
NO_METADATA = dict.fromkeys(('Creator', 'Date', 'Format', 'Type'))


def colour(group: int) -> str:
    """The colour of a group."""
    return COLOURS[group % len(COLOURS)]


def draw_panel(panel: Panel) -> tuple[str, bytes]:
    """Draws a panel.

    Returns:
        The SVG, with the values for the pointer as JSON in its attribute `data-values`, and the PNG.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE)
        axes = figure.add_axes((0.115, 0.155, 0.86, 0.72))
        sets = coinciding(panel)
        for found in sets:
            groups = list(dict.fromkeys(line.group for line in found))
            for line in found:
                _draw(axes, line, _stripe(groups.index(line.group), len(groups)) if len(groups) > 1 else None)
        _scales(axes, panel)
        labels = _label_ends(axes, panel)
        _tidy(figure, axes, panel, '; '.join(filter(None, [panel.note, note(panel, sets)])), labels)
        svg = svg_of(figure, 'data-values', _values(axes, panel))
        return svg, png_of(figure)


def dash(group: int, place: int) -> str | tuple:
    """The line style of a run: that of its place in the group, shifted where the colours repeat."""
    return DASHES[(place + group // len(COLOURS)) % len(DASHES)]


def _stripe(place: int, count: int) -> tuple:
    """The line style of one of several groups whose curves coincide: together they are a line of stripes."""
    return (STRIPE * (count - place) % (STRIPE * count), (STRIPE, STRIPE * (count - 1)))


def _draw(axes: Axes, line: Line, stripe: tuple | None = None) -> None:
    hue = colour(line.group)
    step = 1 + len(line.x) // MOST_POINTS
    if line.smooth and step == 1:
        axes.plot(line.x, line.y, color=hue, lw=0.8, alpha=0.25, zorder=1)
    elif line.smooth:
        parts = [line.y[begin : begin + step] for begin in range(0, len(line.y), step)]
        axes.fill_between(line.x[::step], list(map(min, parts)), list(map(max, parts)), color=hue, alpha=0.18, lw=0)
    style = dict(color=hue, linestyle=stripe or dash(line.group, line.place), solid_capstyle='round')
    axes.plot(line.x[::step], (line.smooth or line.y)[::step], lw=1.7, zorder=2, **style)
    if len(line.x) < 30 and not line.smooth:
        axes.plot(line.x, line.y, 'o', ms=2.8, color=hue, zorder=3, clip_on=False)
    if line.best is not None:
        best = [line.x[line.best]], [line.y[line.best]]
        axes.plot(*best, 'o', ms=7, mfc=PAPER, mec=hue, mew=1.8, zorder=4, clip_on=False)


def _scales(axes: Axes, panel: Panel) -> None:
    strong = [value for line in panel.lines for value in line.smooth or line.y]
    # Most of what is drawn faintly, too; single values far off would leave the curve flat.
    strong += [float(v) for line in panel.lines if line.smooth for v in np.percentile(line.y, (5, 95))]
    if panel.log:
        axes.set_yscale('log')
        axes.set_ylim(min(strong) / 1.3, max(strong) * 1.3)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        margin = 0.1 * (max(strong) - min(strong)) or 0.1 * abs(strong[0]) or 1
        axes.set_ylim(0 if panel.from_zero else min(strong) - margin, max(strong) + margin)
        axes.yaxis.set_major_locator(ticks(5))
    axes.yaxis.set_major_formatter(FuncFormatter(number))
    axes.xaxis.set_major_formatter(FuncFormatter(number))
    counts = panel.x_label in ('epoch', 'iteration')
    axes.xaxis.set_major_locator(ticks(6, integer=counts))
    axes.set_xlim(0, panel.x_end or max(x for line in panel.lines for x in line.x) or 1)


def ticks(most: int, **options) -> MaxNLocator:
    """Ticks at round numbers."""
    return MaxNLocator(most, steps=[1, 2, 2.5, 5, 10], **options)


def number(value: float, _: object = None) -> str:
    """A tick as text: 1500 as '1.5k', 0.0002 as '2e-4'."""
    size = abs(value)
    if size >= 1e6:
        return f'{value / 1e6:g}M'
    if size >= 10000:
        return f'{value / 1000:g}k'
    if 0 < size < 0.0001:
        digits, _, power = f'{value:.2e}'.partition('e')
        return f'{float(digits):g}e{int(power)}'
    return f'{value:.6g}'.replace('-', '\u2212')


def short(name: str, length: int = LABEL_LENGTH) -> str:
    """A name, cut off if it is longer."""
    return name if len(name) <= length else f'{name[: length - 1]}\u2026'


def _label_ends(axes: Axes, panel: Panel) -> int:
    """Writes the name of each group behind the end of its line; returns the letters of the longest one."""
    ends = [line for line in panel.lines if line.label]
    if not 2 <= len({line.group for line in panel.lines}) <= MOST_LABELS:
        return 0
    to_place = axes.transData + axes.transAxes.inverted()
    places = {}
    for line in ends:
        same = [other for other in panel.lines if other.group == line.group]
        heights = [to_place.transform((other.x[-1], (other.smooth or other.y)[-1]))[1] for other in same]
        places[line.group] = sum(heights) / len(heights)
    for group, height in _spread(places, gap=0.085).items():
        name = next(line.label for line in ends if line.group == group)
        axes.text(1.035, height, short(name), color=colour(group), transform=axes.transAxes, va='center', weight='bold')
    return max(len(short(line.label)) for line in ends)


def _spread(places: dict[int, float], gap: float) -> dict[int, float]:
    """Moves labels apart that would cover each other, inside of the axes."""
    order = sorted(places, key=lambda key: places[key])
    moved = {}
    floor = 0.0
    for key in order:
        moved[key] = max(min(places[key], 1.0), floor)
        floor = moved[key] + gap
    ceiling = 1.0
    for key in reversed(order):
        moved[key] = min(moved[key], ceiling)
        ceiling = moved[key] - gap
    return moved


def _tidy(figure: Figure, axes: Axes, panel: Panel, note: str, letters: int) -> None:
    axes.grid(axis='y', color=RULE, lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right', 'left']].set_visible(False)
    axes.tick_params(axis='y', length=0)
    axes.tick_params(axis='x', length=3)
    axes.set_xlabel(panel.x_label)
    width = 72 * SIZE[0]
    right = 1 - (14 + 6.3 * letters) / width if letters else 0.965
    figure.canvas.draw()
    left = (widest(axes, figure) + 10) / width
    axes.set_position((left, 0.155, right - left, 0.68 if note else 0.715))
    figure.text(4 / width, 0.955, panel.title, weight='bold', va='center', ha='left', fontsize=10)
    figure.text(4 / width, 0.885, note, color=QUIET, va='center', ha='left', fontsize=8)


def widest(axes: Axes, figure: Figure) -> float:
    """Width of the widest title of a tick of the y axis, in points."""
    low, high = sorted(axes.get_ylim())
    shown = [t for t, y in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True) if low <= y <= high]
    return max((text.get_window_extent().width for text in shown), default=0) * 72 / figure.dpi


def _values(axes: Axes, panel: Panel) -> dict:
    """What the script of the page needs to show values at the pointer: the place of the axes, and thinned lines."""
    width, height = 72 * SIZE[0], 72 * SIZE[1]
    box = axes.get_position()
    lines = []
    for line in panel.lines:
        step = max(1, len(line.x) // 300)
        values = (line.smooth or line.y)[::step]
        xs = line.x[::step]
        lines.append([line.name, line.group, [_rounded(x) for x in xs], [_rounded(y) for y in values]])
    return {
        'box': [_rounded(v) for v in (box.x0 * width, (1 - box.y1) * height, box.x1 * width, (1 - box.y0) * height)],
        'x': [_rounded(v) for v in axes.get_xlim()],
        'over': panel.x_label,
        'lines': lines,
    }


def _rounded(value: float) -> float:
    return float(f'{value:.5g}')


def svg_of(figure: Figure, attribute: str = '', values: dict | None = None) -> str:
    """A figure as SVG with the colours of the page, and values as JSON in an attribute."""
    buffer = io.StringIO()
    figure.savefig(buffer, format='svg', metadata=NO_METADATA)
    svg = buffer.getvalue()
    svg = svg[svg.index('<svg') :]
    svg = re.sub(r'<metadata>.*?</metadata>|<!--.*?-->', '', svg, flags=re.DOTALL)
    # Ids of groups repeat from figure to figure; nothing refers to them.
    svg = re.sub(r'<g id="[\w.]+"', '<g', svg)
    svg = re.sub(r'#[0-9a-f]{6}\b', lambda match: VARIABLES.get(match[0], match[0]), svg)
    view = re.search(r'viewBox="[^"]*"', svg)[0]
    extra = f" {attribute}='{_attribute(values)}'" if values else ''
    svg = re.sub(r'<svg[^>]*>', lambda _: f'<svg {view}{extra} aria-hidden="true">', svg, count=1)
    return re.sub(r'\n\s*', '\n', svg).strip()


def _attribute(values: dict) -> str:
    text = json.dumps(values, separators=(',', ':'), ensure_ascii=False)
    return text.replace('&', '&amp;').replace("'", '&#39;').replace('<', '&lt;')


def png_of(figure: Figure) -> bytes:
    """A figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=200)
    return buffer.getvalue()
