"""Figure 2 of the paper from the rows of an architecture: tail, bridge, body and head as one fish.

The height of a box is its resolution, from 1/32 (low) to 1/4 (high), so the outline narrows along the tail, widens
along the body and narrows along the head. A box is a stage, with the output of its bottlenecks. A bar is a feature
between two stages, in two colours if the output of a transfer block is concatenated to the trunk.
"""

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle

from fishnet_mmdet.lab.figures.canvas import COLOURS, FAINT, GOLD, HALF_HEIGHT, LINE, STYLE, Canvas
from fishnet_mmdet.network.arch import FishNetArch
from fishnet_mmdet.network.rows import StageRow, TransferRow

BOX, WEDGE, BAR, GAP = 1.06, 0.16, 0.24, 0.2


def draw(arch: FishNetArch, name: str) -> Figure:
    """Draws an architecture as the fish.

    Args:
        arch: The architecture.
        name: Title of the picture.
    """
    with mpl.rc_context(STYLE):
        picture = _Picture(arch)
        picture.draw()
        picture.canvas.title(HALF_HEIGHT[-1] + 1.22, name)
        return picture.canvas.figure


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
        self.canvas = Canvas(xlim=(-margin, self.width + margin), ylim=(low, high))

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
                self.canvas.arrow([(end, 0), (self.left[after.name], 0)], LINE, width=2)
        joined = [stage for stage in self.stages if stage.transfer]
        for index, stage in enumerate(joined):
            self._transfer(stage.transfer, stage.name, depth=index - 3)
        self._fpn()
        self._legend()

    def _resolutions(self) -> None:
        for level, half in enumerate(reversed(HALF_HEIGHT)):
            for y in (half, -half):
                self.canvas.axes.plot([-0.1, self.width + 0.1], [y, y], color=FAINT, lw=0.8, ls=(0, (4, 3)), zorder=0)
            label = f'1/{self.strides[level]}'
            self.canvas.text(-0.14, half, label, 8, ha='right', color=LINE)

    def _stage(self, stage: StageRow) -> None:
        before, after = (HALF_HEIGHT[3 - level] for level in (stage.level, stage.out_level))
        left, bar, colour = self.left[stage.name], self.bar[stage.name] - BAR / 2, COLOURS[stage.part]
        self.canvas.add(Rectangle((left, -before), BOX, 2 * before), colour)
        if before != after:
            right = left + BOX
            corners = [(right, before), (bar, after), (bar, -after), (right, -before)]
            self.canvas.add(Polygon(corners, closed=True), colour + '70')
        self._bar(bar, after, stage)

        middle = left + BOX / 2
        self.canvas.text(middle, 0.24, stage.name, 10.5, weight='bold')
        self.canvas.text(middle, 0.0, self.size(stage.width, stage.level), 9)
        if stage.blocks:
            self.canvas.text(middle, -0.23, f'{stage.blocks} bottleneck{"s" if stage.blocks > 1 else ""}', 7.8)

    def _bar(self, left: float, half: float, stage: StageRow) -> None:
        """The feature after a stage; the transferred channels are drawn on the side that they come from."""
        total = stage.out_width
        share = 2 * half * (total - stage.width) / total
        bottom = -half + (share if stage.part == 'head' else 0)
        self.canvas.add(Rectangle((left, bottom), BAR, 2 * half - share), COLOURS[stage.part], edge='none')
        if share:
            bottom = -half if stage.part == 'head' else half - share
            self.canvas.add(Rectangle((left, bottom), BAR, share), COLOURS['transfer'], edge='none')
        self.canvas.add(Rectangle((left, -half), BAR, 2 * half), 'none')
        self.canvas.text(left + BAR / 2, 0, self.size(total, stage.out_level), 7.6, rotation=90)

    def _transfer(self, transfer: TransferRow, target: str, depth: int) -> None:
        start, end = self.bar[transfer.source], self.bar[target]
        half = HALF_HEIGHT[3 - transfer.level]
        if target.startswith('body'):
            edge, y = half, half + 0.24
        else:
            edge, y = -half, -HALF_HEIGHT[-1] - 0.36 - 0.46 * depth
        self.canvas.arrow([(start, edge), (start, y), (end, y), (end, edge)], GOLD, width=1.5)
        many = 's' if transfer.blocks > 1 else ''
        label = f'T  {self.size(transfer.width, transfer.level)},  {transfer.blocks} bottleneck{many}'
        # Each label is in the middle of its arrow, where no other line passes.
        self.canvas.pill((start + end) / 2, y, label, COLOURS['transfer'], GOLD)

    def _fpn(self) -> None:
        """FPN's lateral convolutions attach to the refined head stages and to the last feature (paper 4.4)."""
        head = [stage for stage in self.stages if stage.part == 'head']
        sources = [(self.left[s.name] + BOX / 2, HALF_HEIGHT[3 - s.level]) for s in head]
        sources.append((self.bar[head[-1].name], HALF_HEIGHT[0]))
        y, height = HALF_HEIGHT[-1] + 0.56, 0.4
        left, right = self.left[head[0].name], sources[-1][0] + BAR / 2
        box = FancyBboxPatch((left, y), right - left, height, boxstyle='round,pad=0,rounding_size=0.1')
        self.canvas.add(box, COLOURS['FPN'])
        self.canvas.text((left + right) / 2, y + height / 2, 'FPN gets these four', 9.5)
        for x, top in sources:
            self.canvas.arrow([(x, top), (x, y)], LINE, width=1.2, style=(0, (3, 2)))

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
            self.canvas.text(x + 0.56, middle, text, 8.5, ha='left')

    def _sample(self, kind: str, x: float, y: float) -> None:
        if kind == 'box':
            for i, part in enumerate(('tail', 'body', 'head')):
                self.canvas.add(Rectangle((x + 0.15 * i, y - 0.11), 0.15, 0.22), COLOURS[part])
        elif kind == 'bar':
            self.canvas.add(Rectangle((x + 0.14, y - 0.13), 0.17, 0.26), COLOURS['body'])
            self.canvas.add(Rectangle((x + 0.14, y + 0.01), 0.17, 0.12), COLOURS['transfer'])
        elif kind == 'wedge':
            corners = [(x + 0.12, y + 0.15), (x + 0.34, y + 0.07), (x + 0.34, y - 0.07), (x + 0.12, y - 0.15)]
            self.canvas.add(Polygon(corners, closed=True), COLOURS['tail'] + '70')
        else:
            colour, width, style = {
                'trunk': (LINE, 2, 'solid'),
                'transfer': (GOLD, 1.5, 'solid'),
                'fpn': (LINE, 1.2, (0, (3, 2))),
            }[kind]
            self.canvas.arrow([(x, y), (x + 0.45, y)], colour, width=width, style=style)
