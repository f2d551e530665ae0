"""Figure 2 of the paper from the rows of an architecture: tail, bridge, body and head as one fish.

The height of a box is its resolution, from 1/32 (low) to 1/4 (high), so the outline narrows along the tail, widens
along the body and narrows along the head. A box is a stage, with the output of its bottlenecks. A bar is a feature
between two stages, in two colours if the output of a transfer block is concatenated to the trunk.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon, Rectangle
from matplotlib.path import Path as Outline

from fishnet_mmdet.network.arch import FishNetArch
from fishnet_mmdet.network.rows import StageRow, TransferRow

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

INK, LINE, FAINT = '#1f2933', '#52606d', '#dfe4e9'
HALF_HEIGHT = (0.5, 1.02, 1.54, 2.06)
"""Half the height of a stage at 1/32, 1/16, 1/8 and 1/4, in units of about an inch."""

BOX, WEDGE, BAR, GAP = 1.06, 0.16, 0.24, 0.2
FONT = dict(family='sans-serif', color=INK)
STYLE = {'svg.hashsalt': 'fishnet_mmdet', 'svg.fonttype': 'none'}


def draw(arch: FishNetArch, name: str) -> Figure:
    """Draws an architecture as the fish.

    Args:
        arch: The architecture.
        name: Title of the picture.
    """
    with mpl.rc_context(STYLE):
        picture = _Picture(arch)
        picture.draw()
        picture.axes.text(0, HALF_HEIGHT[-1] + 1.22, name, fontsize=17, weight='bold', ha='left', va='center', **FONT)
        return picture.figure


def save(figure: Figure, out: Path) -> list[Path]:
    """Writes a figure as `out`.svg and `out`.png, the same bytes for the same architecture on the same matplotlib."""
    files = [out.with_name(f'{out.name}.{kind}') for kind in ('svg', 'png')]
    with mpl.rc_context(STYLE):
        figure.savefig(files[0], metadata={'Date': None, 'Creator': None})
        figure.savefig(files[1], dpi=110, metadata={'Software': None})
    return files


class _Picture:
    """The places of all boxes and bars, and the functions that draw them."""

    def __init__(self, arch: FishNetArch) -> None:
        stem = StageRow(name='stem', in_width=3, width=arch.stem_width, blocks=0, level=0, out_level=0)
        self.stages, self.strides = (stem, *arch.rows), arch.strides
        self.left: dict[str, float] = {}
        self.bar: dict[str, float] = {}
        x = 0.0
        for stage in self.stages:
            self.left[stage.name] = x
            x += BOX + WEDGE * (stage.level != stage.out_level)
            self.bar[stage.name] = x + BAR / 2
            x += BAR + GAP
        self.width = x - GAP
        low, high = -HALF_HEIGHT[-1] - 1.62, HALF_HEIGHT[-1] + 1.5
        margin = 0.5
        size = (self.width + 2 * margin, high - low)
        self.figure = Figure(figsize=[0.86 * side for side in size], facecolor='white')
        FigureCanvasAgg(self.figure)
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(-margin, self.width + margin), ylim=(low, high))
        self.axes.set_axis_off()

    def size(self, width: int, level: int) -> str:
        """`C @ 1/s`."""
        return f'{width} @ 1/{self.strides[level]}'

    def draw(self) -> None:
        """Everything but the title."""
        self._resolutions()
        for stage, after in zip(self.stages, [*self.stages[1:], None], strict=True):
            self._stage(stage)
            end = self.bar[stage.name] + BAR / 2
            if after:
                self._arrow([(end, 0), (self.left[after.name], 0)], LINE, width=2)
        joined = [stage for stage in self.stages if stage.transfer]
        for index, stage in enumerate(joined):
            self._transfer(stage.transfer, stage.name, depth=index - 3)
        self._fpn()
        self._legend()

    def _text(self, x: float, y: float, text: str, size: float, **style) -> None:
        self.axes.text(x, y, text, fontsize=size, **{'ha': 'center', 'va': 'center', **FONT, **style})

    def _add(self, patch, fill: str, *, edge: str = LINE, zorder: float = 3) -> None:
        patch.set(facecolor=fill, edgecolor=edge, linewidth=0.9, zorder=zorder)
        self.axes.add_patch(patch)

    def _resolutions(self) -> None:
        for level, half in enumerate(reversed(HALF_HEIGHT)):
            for y in (half, -half):
                self.axes.plot([-0.1, self.width + 0.1], [y, y], color=FAINT, lw=0.8, ls=(0, (4, 3)), zorder=0)
            label = f'1/{self.strides[level]}'
            self._text(-0.14, half, label, 8, ha='right', color=LINE)

    def _stage(self, stage: StageRow) -> None:
        before, after = (HALF_HEIGHT[3 - level] for level in (stage.level, stage.out_level))
        left, bar, colour = self.left[stage.name], self.bar[stage.name] - BAR / 2, COLOURS[stage.part]
        self._add(Rectangle((left, -before), BOX, 2 * before), colour)
        if before != after:
            right = left + BOX
            corners = [(right, before), (bar, after), (bar, -after), (right, -before)]
            self._add(Polygon(corners, closed=True), colour + '70')
        self._bar(bar, after, stage)

        middle = left + BOX / 2
        self._text(middle, 0.24, stage.name, 10.5, weight='bold')
        self._text(middle, 0.0, self.size(stage.width, stage.level), 9)
        if stage.blocks:
            self._text(middle, -0.23, f'{stage.blocks} bottleneck{"s" if stage.blocks > 1 else ""}', 7.8)

    def _bar(self, left: float, half: float, stage: StageRow) -> None:
        """The feature after a stage; the transferred channels are drawn on the side that they come from."""
        total = stage.out_width
        share = 2 * half * (total - stage.width) / total
        bottom = -half + (share if stage.part == 'head' else 0)
        self._add(Rectangle((left, bottom), BAR, 2 * half - share), COLOURS[stage.part], edge='none')
        if share:
            bottom = -half if stage.part == 'head' else half - share
            self._add(Rectangle((left, bottom), BAR, share), COLOURS['transfer'], edge='none')
        self._add(Rectangle((left, -half), BAR, 2 * half), 'none')
        self._text(left + BAR / 2, 0, self.size(total, stage.out_level), 7.6, rotation=90)

    def _transfer(self, transfer: TransferRow, target: str, depth: int) -> None:
        start, end = self.bar[transfer.source], self.bar[target]
        half = HALF_HEIGHT[3 - transfer.level]
        if target.startswith('body'):
            edge, y = half, half + 0.24
        else:
            edge, y = -half, -HALF_HEIGHT[-1] - 0.36 - 0.46 * depth
        self._arrow([(start, edge), (start, y), (end, y), (end, edge)], '#b08a00', width=1.5)
        many = 's' if transfer.blocks > 1 else ''
        label = f'T  {self.size(transfer.width, transfer.level)},  {transfer.blocks} bottleneck{many}'
        # Each label is in the middle of its arrow, where no other line passes.
        x, width, height = (start + end) / 2, 2.26, 0.3
        corner = (x - width / 2, y - height / 2)
        pill = FancyBboxPatch(corner, width, height, boxstyle='round,pad=0,rounding_size=0.13')
        self._add(pill, COLOURS['transfer'], edge='#b08a00', zorder=5)
        self.axes.text(x, y, label, fontsize=8, ha='center', va='center', zorder=6, **FONT)

    def _fpn(self) -> None:
        """FPN's lateral convolutions attach to the refined head stages and to the last feature (paper 4.4)."""
        head = [stage for stage in self.stages if stage.part == 'head']
        sources = [(self.left[s.name] + BOX / 2, HALF_HEIGHT[3 - s.level]) for s in head]
        sources.append((self.bar[head[-1].name], HALF_HEIGHT[0]))
        y, height = HALF_HEIGHT[-1] + 0.56, 0.4
        left, right = self.left[head[0].name], sources[-1][0] + BAR / 2
        box = FancyBboxPatch((left, y), right - left, height, boxstyle='round,pad=0,rounding_size=0.1')
        self._add(box, COLOURS['FPN'])
        self._text((left + right) / 2, y + height / 2, 'FPN gets these four', 9.5)
        for x, top in sources:
            self._arrow([(x, top), (x, y)], LINE, width=1.2, style=(0, (3, 2)))

    def _arrow(
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

    def _legend(self) -> None:
        """The legend, below the tail, where nothing else is drawn."""
        y = -HALF_HEIGHT[-1] - 0.5
        rows = [
            ('box', 'stage: what its bottlenecks put out'),
            ('bar', 'feature; yellow: concatenated by T'),
            ('wedge', 'down- or up-sampling by 2'),
            ('trunk', 'trunk'),
            ('transfer', 'T: transfer block'),
            ('fpn', 'to the detector'),
        ]
        for index, (kind, text) in enumerate(rows):
            column, row = divmod(index, 3)
            x, middle = 0.0 + 3.45 * column, y - 0.36 * row
            self._sample(kind, x, middle)
            self._text(x + 0.56, middle, text, 8.5, ha='left')

    def _sample(self, kind: str, x: float, y: float) -> None:
        if kind == 'box':
            for i, part in enumerate(('tail', 'body', 'head')):
                self._add(Rectangle((x + 0.15 * i, y - 0.11), 0.15, 0.22), COLOURS[part])
        elif kind == 'bar':
            self._add(Rectangle((x + 0.14, y - 0.13), 0.17, 0.26), COLOURS['body'])
            self._add(Rectangle((x + 0.14, y + 0.01), 0.17, 0.12), COLOURS['transfer'])
        elif kind == 'wedge':
            corners = [(x + 0.12, y + 0.15), (x + 0.34, y + 0.07), (x + 0.34, y - 0.07), (x + 0.12, y - 0.15)]
            self._add(Polygon(corners, closed=True), COLOURS['tail'] + '70')
        else:
            colour, width, style = {
                'trunk': (LINE, 2, 'solid'),
                'transfer': ('#b08a00', 1.5, 'solid'),
                'fpn': (LINE, 1.2, (0, (3, 2))),
            }[kind]
            self._arrow([(x, y), (x + 0.45, y)], colour, width=width, style=style)


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
