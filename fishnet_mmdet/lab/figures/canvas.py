"""What the drawings of networks share: colours, boxes, texts, and arrows with rounded corners."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path as Outline

COLOURS = {
    'stem': '#c3ccd6',
    'tail': '#8fbbe3',
    'bridge': '#c8aee0',
    'body': '#97d3a6',
    'head': '#f7b884',
    'transfer': '#f3e08c',
    'FPN': '#e2e6ea',
}
"""Fill of each part; `training.py` draws the curves of the same parts in darker shades."""

INK, LINE, FAINT, GOLD = '#1f2933', '#52606d', '#dfe4e9', '#b08a00'
HALF_HEIGHT = (0.5, 1.02, 1.54, 2.06)
"""Half the height of a stage at 1/32, 1/16, 1/8 and 1/4, in units of about an inch."""

FONT = dict(family='sans-serif', color=INK)
STYLE = {'svg.hashsalt': 'fishnet_mmdet', 'svg.fonttype': 'none'}


class Canvas:
    """An empty picture.

    Args:
        xlim: Left and right, in units of about an inch.
        ylim: Bottom and top.
    """

    def __init__(self, xlim: tuple[float, float], ylim: tuple[float, float]) -> None:
        size = (xlim[1] - xlim[0], ylim[1] - ylim[0])
        self.figure = Figure(figsize=[0.86 * side for side in size], facecolor='white')
        FigureCanvasAgg(self.figure)
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=xlim, ylim=ylim)
        self.axes.set_axis_off()

    def text(self, x: float, y: float, text: str, size: float, **style) -> None:
        """Writes a text, centred at a point."""
        self.axes.text(x, y, text, fontsize=size, **{'ha': 'center', 'va': 'center', **FONT, **style})

    def add(self, patch, fill: str, *, edge: str = LINE, zorder: float = 3) -> None:
        """Adds a shape with its fill."""
        patch.set(facecolor=fill, edgecolor=edge, linewidth=0.9, zorder=zorder)
        self.axes.add_patch(patch)

    def pill(self, x: float, y: float, text: str, fill: str, edge: str, *, width: float = 2.26) -> None:
        """Writes a text in a rounded box, centred at a point."""
        box = FancyBboxPatch((x - width / 2, y - 0.15), width, 0.3, boxstyle='round,pad=0,rounding_size=0.13')
        self.add(box, fill, edge=edge, zorder=5)
        self.axes.text(x, y, text, fontsize=8, ha='center', va='center', zorder=6, **FONT)

    def title(self, y: float, text: str) -> None:
        """Writes the name of the picture, at its left."""
        self.axes.text(0, y, text, fontsize=17, weight='bold', ha='left', va='center', **FONT)

    def arrow(
        self,
        points: Sequence[tuple[float, float]],
        colour: str,
        *,
        width: float,
        style: str | tuple = 'solid',
    ) -> None:
        """A line through the points, with rounded corners and a head at its end."""
        (x0, y0), (x1, y1) = points[-2:]
        length = abs(x1 - x0) + abs(y1 - y0)
        ux, uy = (x1 - x0) / length, (y1 - y0) / length
        tip = 0.045 + 0.035 * width
        body = [*points[:-1], (x1 - tip * ux, y1 - tip * uy)]
        path = Outline(*zip(*_rounded(body), strict=True))
        self.axes.add_patch(PathPatch(path, fill=False, edgecolor=colour, lw=width, ls=style, zorder=4))
        side = 0.55 * tip
        corners = [(x1, y1)] + [(body[-1][0] + s * uy * side, body[-1][1] + s * ux * side) for s in (1, -1)]
        self.axes.add_patch(Polygon(corners, closed=True, facecolor=colour, edgecolor='none', zorder=4))


def save(figure: Figure, out: Path) -> list[Path]:
    """Writes a figure as `out`.svg and `out`.png, the same bytes for the same architecture on the same matplotlib."""
    files = [out.with_name(f'{out.name}.{kind}') for kind in ('svg', 'png')]
    with mpl.rc_context(STYLE):
        figure.savefig(files[0], metadata={'Date': None, 'Creator': None})
        figure.savefig(files[1], dpi=110, metadata={'Software': None})
    return files


def _rounded(points: Sequence[tuple[float, float]], radius: float = 0.12) -> Iterator[tuple]:
    """Vertices and codes of a line whose right angles are rounded."""
    yield points[0], Outline.MOVETO
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        yield _towards(corner, before, radius), Outline.LINETO
        yield corner, Outline.CURVE3
        yield _towards(corner, after, radius), Outline.CURVE3
    yield points[-1], Outline.LINETO


def _towards(start: tuple[float, float], end: tuple[float, float], far: float) -> tuple[float, float]:
    length = ((end[0] - start[0]) ** 2 + (end[1] - start[1]) ** 2) ** 0.5
    step = min(far, length / 2) / length
    return start[0] + step * (end[0] - start[0]), start[1] + step * (end[1] - start[1])
