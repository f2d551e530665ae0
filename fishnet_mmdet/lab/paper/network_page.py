"""The tables of docs/network.md, printed from the code: resolutions, stages, and what a gradient meets."""

from collections.abc import Callable

from fishnet_mmdet.base.tables import Column, Table
from fishnet_mmdet.lab.counting import count_parts
from fishnet_mmdet.lab.figures.gradients import StageProof, analyse, verdict
from fishnet_mmdet.network.arch import ARCHS
from fishnet_mmdet.network.fishnet import FishNet

SHOWN = 'fishnet150'
"""The architecture of the page."""


def levels_markdown() -> str:
    """Channels of each part at each resolution: what leaves its stages, and what a neck gets.

    Returns:
        A Markdown table, ending in a line break.
    """
    arch = ARCHS[SHOWN]
    rows = {
        'tail (down)': {0: arch.stem_width, **{row.out_level: row.out_width for row in arch.tail_rows}},
        'bridge': {3: arch.bridge_row.out_width},
        'body (up), after concatenation': {row.out_level: row.out_width for row in arch.body_rows},
        'head (down), what a neck gets': dict(enumerate(arch.out_channels)),
    }
    columns = [Column(''), *(Column(f'1/{stride}', 'd') for stride in arch.strides)]
    cells = [[name, *(widths.get(level) for level in range(4))] for name, widths in rows.items()]
    return Table(name='levels', title='', columns=columns, rows=cells).markdown_grid()


def stages_markdown() -> str:
    """What each stage takes in, gives out and is made of, counted on the built network.

    Returns:
        A Markdown table, one row for each stage, ending in a line break.
    """
    arch = ARCHS[SHOWN]
    columns = [Column(name) for name in ('stage', 'trunk', 'joined', 'output')]
    columns += [Column(name, 'd') for name in ('bottlenecks', 'of T', 'I-convs', 'convolutions')]
    names = ['stem', *(row.name for row in arch.rows)]
    rows = [[name, *part[1:]] for name, part in zip(names, count_parts(arch), strict=False)]
    return Table(name='stages', title='', columns=columns, rows=rows).markdown_grid()


def gradients_markdown() -> str:
    """The most direct path through each stage, and how a gradient of the last feature reaches it, as both proofs say.

    Returns:
        A Markdown table, one row for each stage, ending in a line break.
    """
    columns = [Column(name) for name in ('stage', 'on its trunk, without a weight', 'convolutions on it', 'reached')]
    rows = [
        [f.name, ', '.join(f'{n} {kind}' for kind, n in f.trunk.free.items()), _weights(f), verdict(f)]
        for f in analyse(FishNet(SHOWN))
    ]
    return Table(name='gradients', title='', columns=columns, rows=rows).markdown_grid()


def _weights(found: StageProof) -> str | None:
    counts = {'I-conv': len(found.trunk.i_convs), 'plain': len(found.trunk.plain)}
    return ', '.join(f'{count} {kind}' for kind, count in counts.items() if count) or None


NETWORK_TABLES: dict[str, Callable[[], str]] = {
    'levels': levels_markdown,
    'stages': stages_markdown,
    'gradients': gradients_markdown,
}
"""The tables by the names of their markers on the page."""
