"""One stage of a fish from the inside: bottlenecks with their shortcuts, the change of resolution, what is joined.

The trunk runs through the middle. Green is a part of it without a weight: gradients pass it unchanged.
"""

from collections.abc import Callable

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Polygon, Rectangle

from fishnet_mmdet.lab.figures.canvas import COLOURS, GOLD, LINE, STYLE, Canvas
from fishnet_mmdet.lab.figures.inside import Conv, Inside, Unit, look_inside
from fishnet_mmdet.network.arch import FishNetArch

FREE, WEIGHT = '#168a54', '#e79a9a'
BAR, HALF, BOX, UNIT, WEDGE, GAP = 0.26, 0.66, 0.94, 4.3, 0.5, 0.42
BRANCH, SKIP = 1.12, 2.5
"""Heights above the trunk: of the residual branches, and of what is joined."""

KINDS = {'body': ': a UR-block', 'head': ': a DR-block'}
"""What the paper calls a stage."""

Piece = tuple[float, Callable[[float], None]]
"""The width of a part of the picture, and the function that draws it from a left side."""


def draw_stage(arch: FishNetArch, name: str, stage: str) -> Figure:
    """Draws the inside of a stage.

    Args:
        arch: The architecture.
        name: Its name, for the title.
        stage: Name of the stage, such as 'body 2'.

    Raises:
        FigureError: There is no such stage.
    """
    with mpl.rc_context(STYLE):
        inside = look_inside(arch, stage)
        return _Picture(inside).draw(f'{name}, {stage}{KINDS.get(inside.row.part, "")}')


class _Picture:
    """The pieces of a stage from left to right, and the functions that draw them."""

    def __init__(self, inside: Inside) -> None:
        self.inside, self.row = inside, inside.row
        self.colour = COLOURS[inside.row.part]
        self.above = 1 if inside.row.part == 'body' else -1
        pieces = self._pieces()
        self.width = sum(width + GAP for width, _ in pieces) - GAP
        joins = inside.row.transfer is not None
        top = SKIP + 0.4 if joins else BRANCH + 1.0
        bottom = -SKIP + 0.5 if joins and self.above == -1 else -1.6 if inside.attention else -1.0
        self.legend_y, self.title_y = bottom - 0.35, top + 0.4
        self.canvas = Canvas((-0.4, max(self.width, 9.4) + 0.4), (bottom - 0.75, top + 0.75))
        self.pieces = pieces

    def draw(self, title: str) -> Figure:
        """Everything."""
        x = 0.0
        for index, (width, piece) in enumerate(self.pieces):
            if index:
                self._line(x - GAP, x)
            piece(x)
            x += width + GAP
        self._legend()
        self.canvas.title(self.title_y, title)
        return self.canvas.figure

    def _pieces(self) -> list[Piece]:
        i, row = self.inside, self.row
        first, *rest = i.units
        pieces: list[Piece] = [(BAR, lambda x: self._bar(x, i.size(row.in_width, row.level)))]
        pieces += [(BOX, lambda x, conv=conv: self._conv(x, 0, conv, WEIGHT)) for conv in i.before]
        pieces.append((UNIT, lambda x: self._unit(x, first, 'bottleneck 1')))
        if rest:
            name = 'bottleneck 2' if len(rest) == 1 else f'bottlenecks 2 to {len(i.units)}, all alike'
            pieces.append((UNIT, lambda x: self._unit(x, rest[0], name)))
        if i.attention:
            pieces.append((0.9, self._attention))
        if row.part == 'head':
            pieces.append((BAR, self._refined))
        if i.strided:
            pieces.append((BOX, self._strided))
        if i.sampling:
            pieces.append((WEDGE, self._sampling))
        pieces.append((BAR, self._output))
        return pieces

    def _line(self, left: float, right: float, *, head: bool = True) -> None:
        if head:
            self.canvas.arrow([(left, 0), (right, 0)], FREE, width=2.4)
        else:
            self.canvas.axes.plot([left, right], [0, 0], color=FREE, lw=2.4, zorder=4, solid_capstyle='butt')

    def _bar(self, x: float, size: str, share: float = 0.0) -> None:
        """A feature; the share of its channels that was joined is on the side that it comes from."""
        before = self.row.part in ('head', 'bridge', 'body') and x == 0
        fill = {'bridge': COLOURS['tail'], 'body': COLOURS['body'], 'head': COLOURS['head']}
        colour = fill[self.row.part] if before else self.colour
        self.canvas.add(Rectangle((x, -HALF), BAR, 2 * HALF), colour)
        if share:
            height = 2 * HALF * share
            bottom = HALF - height if self.above == 1 else -HALF
            self.canvas.add(Rectangle((x, bottom), BAR, height), COLOURS['transfer'], edge='none')
            self.canvas.add(Rectangle((x, -HALF), BAR, 2 * HALF), 'none')
        self.canvas.text(x + BAR / 2, 0, size, 8.4, rotation=90, zorder=6)

    def _conv(self, x: float, y: float, conv: Conv, fill: str) -> None:
        """A convolution, with its norm and ReLU, from its left side."""
        height = 0.62
        self.canvas.add(Rectangle((x, y - height / 2), BOX, height), fill, zorder=5)
        middle = x + BOX / 2
        self.canvas.text(middle, y + 0.12, conv.kernel, 8.6, weight='bold', zorder=6)
        self.canvas.text(middle, y - 0.11, str(conv.width), 8.6, zorder=6)
        if conv.remark:
            self.canvas.text(middle, y - 0.45, conv.remark, 7.6, zorder=6)

    def _unit(self, x: float, unit: Unit, name: str) -> None:
        frame = FancyBboxPatch((x, -0.62), UNIT, 2.5, boxstyle='round,pad=0,rounding_size=0.15')
        self.canvas.add(frame, '#f7f8fa', edge='#c3ccd6', zorder=1)
        self.canvas.text(x + 0.16, BRANCH + 0.56, name, 9, ha='left', weight='bold')
        left, plus = x + 0.3, x + UNIT - 0.34
        boxes = [left + 0.22 + k * (BOX + 0.14) for k in range(3)]
        self.canvas.arrow([(left, 0), (left, BRANCH), (boxes[0], BRANCH)], LINE, width=1.4)
        self.canvas.arrow([(boxes[-1] + BOX, BRANCH), (plus, BRANCH), (plus, 0.15)], LINE, width=1.4)
        for box, conv in zip(boxes, unit.branch, strict=True):
            self._conv(box, BRANCH, conv, self.colour)
        self._shortcut(x, plus - 0.15, unit.shortcut)
        self.canvas.add(Circle((plus, 0), 0.15), 'white', zorder=5)
        self.canvas.text(plus, 0, '+', 11, zorder=6)
        self._line(plus + 0.15, x + UNIT, head=False)

    def _shortcut(self, left: float, right: float, shortcut: str | Conv) -> None:
        middle = (left + right) / 2
        if isinstance(shortcut, Conv):
            self._line(left, middle - BOX / 2)
            self._conv(middle - BOX / 2, 0, shortcut, WEIGHT)
            self.canvas.text(middle, -0.46, 'I-conv', 8.2)
            self._line(middle + BOX / 2, right)
        else:
            self._line(left, right)
            wide = 0.9 if shortcut == 'identity' else 1.66
            self.canvas.pill(middle, 0, shortcut, 'white', FREE, width=wide)

    def _attention(self, x: float) -> None:
        """The bridge's channel attention: one factor per channel, which is also added."""
        times, plus, y = x + 0.15, x + 0.75, -1.3
        start = BAR + GAP + 2 * (BOX + GAP) - GAP / 2
        squeeze, excite = self.inside.attention
        label = f'channel attention: mean, 1x1 to {squeeze}, 1x1 to {excite}, sigmoid'
        self.canvas.arrow([(start, 0), (start, y), (plus, y), (plus, -0.15)], LINE, width=1.4)
        self.canvas.arrow([(times, y), (times, -0.15)], LINE, width=1.4)
        self.canvas.pill((start + times) / 2, y, label, self.colour, LINE, width=4.3)
        for centre, sign in ((times, '\N{MULTIPLICATION SIGN}'), (plus, '+')):
            self.canvas.add(Circle((centre, 0), 0.15), WEIGHT if centre == times else 'white', zorder=5)
            self.canvas.text(centre, 0, sign, 11, zorder=6)
        self._line(times + 0.15, plus - 0.15, head=False)

    def _refined(self, x: float) -> None:
        """The refined feature of a head stage, which a neck gets."""
        size = self.inside.size(self.row.width, self.row.level)
        self._bar(x, size)
        top = SKIP - 0.3
        self.canvas.arrow([(x + BAR / 2, HALF), (x + BAR / 2, top)], LINE, width=1.2, style=(0, (3, 2)))
        self.canvas.pill(x + BAR / 2, top + 0.15, 'to the neck', COLOURS['FPN'], LINE, width=1.2)

    def _strided(self, x: float) -> None:
        self._conv(x, 0, self.inside.strided, WEIGHT)
        self.canvas.text(x + BOX / 2, -0.46, 'strided', 8.2)

    def _sampling(self, x: float) -> None:
        low, high = (0.2, HALF) if self.row.part == 'body' else (HALF, 0.2)
        self.canvas.add(Polygon([(x, low), (x + WEDGE, high), (x + WEDGE, -high), (x, -low)], closed=True), 'white')
        self._line(x, x + WEDGE, head=False)
        self.canvas.text(x + WEDGE / 2, -HALF - 0.17, self.inside.sampling, 8.2)

    def _output(self, x: float) -> None:
        row, transfer = self.row, self.row.transfer
        share = transfer.width / row.out_width if transfer else 0
        self._bar(x, self.inside.size(row.out_width, row.out_level), share)
        if transfer:
            y = self.above * (SKIP if self.above == 1 else SKIP - 0.9)
            end = x + BAR / 2
            many = f'{transfer.blocks} bottleneck{"s" if transfer.blocks > 1 else ""}'
            self.canvas.arrow([(0.9, y), (end, y), (end, self.above * HALF)], GOLD, width=1.5)
            source = f'{transfer.source}:  {self.inside.size(transfer.width, transfer.level)}'
            self.canvas.pill(1.1, y, source, COLOURS[transfer.source.split()[0]], LINE, width=2.1)
            self.canvas.pill(x / 2 + 1, y, f'T  {many}, width and size stay', COLOURS['transfer'], GOLD, width=3.3)

    def _legend(self) -> None:
        y, x = self.legend_y, 0.0
        entries = [(self.colour, 'norm, ReLU, convolution: kernel and output channels', 4.9)]
        entries.append((None, 'trunk without a weight', 2.75))
        if self.inside.weights_on_trunk:
            entries.append((WEIGHT, 'a weight on the trunk', 0))
        for fill, text, width in entries:
            if fill is None:
                self.canvas.arrow([(x, y), (x + 0.42, y)], FREE, width=2.4)
            else:
                self.canvas.add(Rectangle((x, y - 0.11), 0.34, 0.22), fill)
            self.canvas.text(x + 0.52, y, text, 8.5, ha='left')
            x += width
