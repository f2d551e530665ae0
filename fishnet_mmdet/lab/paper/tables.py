"""Every table of the paper: published figures, our counts, and the user's own runs beside them.

What is published is data (`published.py`) and labelled so; what can be counted is counted on the built network
(`counting.py`).
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from fishnet_mmdet.evaluation.published import (
    DOWN_SAMPLING,
    FIGURE_4,
    FISHNET_README,
    NOT_MEASURED,
    OTHER_ABLATIONS,
    PAPER_ERRORS,
    PAPER_PARAMETERS,
    PAPER_TABLE_3,
    PUBLISHED_AP,
    RECONSTRUCTED,
    RELEASED_ERRORS,
    RELEASED_PARAMETERS,
    SOURCES,
    PublishedAblation,
    PublishedError,
)
from fishnet_mmdet.lab.paper.counting import Counts, Part, count_model, count_parts
from fishnet_mmdet.lab.paper.runs import ReportError, Run
from fishnet_mmdet.lab.tables import Column, Table, Value
from fishnet_mmdet.network.arch import ARCHS, PUBLISHED, FishNetArch, name_of, resolve_arch

AP_COLUMNS = ('AP', 'AP_S', 'AP_M', 'AP_L')
OWN_DATA = 'Own rows are of the data that the run was tested on; only on {} do they compare with the published ones.'


PARAMETERS, CONVOLUTIONS, GMACS = (
    Column('parameters, counted', ',d'),
    Column('convolutions, counted', 'd'),
    Column('GMACs, counted', '.3f'),
)
ERROR, SOURCE = Column('top-1 error, %', '.2f'), Column('source')


def all_tables(runs: dict[str, list[Run]], parts: Iterable[str] = ()) -> list[Table]:
    """Every table, in the paper's order.

    Args:
        runs: From `read_runs`.
        parts: Names of layouts whose stages to list.
    """
    return [
        variants_table(),
        imagenet_table(runs['accuracy']),
        down_sampling_table(),
        ablations_table(),
        coco_table(runs['ap']),
        figure4_table(),
        *(parts_table(name) for name in parts),
    ]


def variants_table() -> Table:
    """Size and cost of every name of `ARCHS`, beside what was published of it."""
    rows = []
    for name in ARCHS:
        released = PUBLISHED[name].released_gmacs if name in RELEASED_PARAMETERS else None
        own = _counted(count_model(name))
        rows.append((_labelled(name), *own, RELEASED_PARAMETERS.get(name), released, PAPER_PARAMETERS.get(name)))
    return Table(
        name='variants',
        title='Variants with a classifier of 1000 classes, 224 x 224: counted here, and published',
        columns=(
            Column('arch'), PARAMETERS, GMACS, CONVOLUTIONS,
            Column('released, M parameters', '.2f'), Column('released, GMACs', '.2f'),
            Column('paper, M parameters', '.1f'),
        ),
        rows=rows,
        notes=(
            'Counted on the built network: GMACs are multiply-adds of the convolutions and the linear layer alone.',
            f'Released: README of {FISHNET_README}, whose GMACs count more than that; {NOT_MEASURED}.',
            f'Paper: arXiv 1901.03495, whose FishNet-150 has a layout that was never released; {NOT_MEASURED}.',
            'The number in a name leaves the linear layer out.',
        ),
    )  # fmt: skip


def imagenet_table(runs: Iterable[Run]) -> Table:
    """Top-1 error on ImageNet: the paper's networks, the released ones, and own runs."""
    rows: list[Sequence[Value]] = [
        (row.network, row.parameters, *_counted(_count(row))[:2], row.error, _published(row.source))
        for row in (*PAPER_ERRORS, *RELEASED_ERRORS)
    ]
    for run in runs:
        top1 = run.rows[-1].get('top-1')
        error = None if top1 is None else 100 * (1 - top1)
        rows.append((run.label, None, None, None, error, f'own run, {run.source}'))
    return Table(
        name='table1_imagenet',
        title='ImageNet val, single 224 crop: FishNet and ResNet, FishNeXt and ResNeXt (the paper, section 4.2)',
        columns=(
            Column('network'), Column('M parameters, published', '.2f'), PARAMETERS, GMACS, ERROR, SOURCE,
        ),
        rows=rows,
        notes=(
            'Titled by what it holds: which of these figures the paper prints as Table 1 was not checked.',
            SOURCES,
            'Counted: the released layouts. The FishNet-150 and FishNeXt-150 of the paper had another, never released.',
            *([OWN_DATA.format('ImageNet val')] if runs else []),
        ),
    )  # fmt: skip


def down_sampling_table() -> Table:
    """The down-sampling of tail and head in FishNet-150, each way counted where it can be built."""
    return Table(
        name='table2_down_sampling',
        title='Table 2: FishNet-150 with another down-sampling in tail and head',
        columns=(Column('down-sampling'), Column('paper, M parameters', '.1f'), PARAMETERS, GMACS, ERROR, SOURCE),
        rows=[
            (row.choice, row.parameters, *_ablated(row), row.error, _published(row.source))
            for row in DOWN_SAMPLING
        ],
        notes=('Counted in the released layout; the errors and parameters of the paper are of its own layout.',),
    )  # fmt: skip


def ablations_table() -> Table:
    """What else section 4.3 changed in FishNet-150."""
    return Table(
        name='section4_3_ablations',
        title='FishNet-150 with other changes (the paper, section 4.3)',
        columns=(Column('change'), PARAMETERS, GMACS, Column('change of top-1 error, points', '+.2f'), SOURCE),
        rows=[
            (row.choice, *_ablated(row), row.change, _published(row.source)) for row in OTHER_ABLATIONS
        ],
        notes=(
            "Taken from a reader's notes on the paper, not from the paper itself. Dilation in body and head raised "
            'the error; by how much is not known here.',
        ),
    )  # fmt: skip


def coco_table(runs: Iterable[Run]) -> Table:
    """AP on COCO val2017 as published, and own runs."""
    rows: list[Sequence[Value]] = [
        (
            row.backbone, detector, iou_type, row.ap, row.small, row.medium, row.large,
            _published(PAPER_TABLE_3),
        )
        for detector, types in PUBLISHED_AP.items()
        for iou_type, published in types.items()
        for row in published
    ]  # fmt: skip
    for run in runs:
        for row in run.rows:
            figures = (None if row.get(c) is None else 100 * row[c] for c in AP_COLUMNS)
            rows.append((run.label, None, row['type'], *figures, f'own run, {run.source}'))
    return Table(
        name='table3_coco',
        title='Table 3: AP on COCO val2017, percent',
        columns=(
            Column('backbone or run'), Column('detector'), Column('type'),
            *(Column(name, '.1f') for name in AP_COLUMNS), SOURCE,
        ),
        rows=rows,
        notes=(OWN_DATA.format('COCO val2017'),) if runs else (),
    )  # fmt: skip


def figure4_table() -> Table:
    """The points of Figure 4: published errors against our counts."""
    return Table(
        name='figure4',
        title='Figure 4: top-1 error on ImageNet val (published) against parameters and GMACs (counted here)',
        columns=(Column('network'), PARAMETERS, GMACS, ERROR, SOURCE),
        rows=[(row.network, *_counted(_count(row))[:2], row.error, _published(row.source)) for row in FIGURE_4],
        notes=(SOURCES,),
    )


def parts_table(arch: str) -> Table:
    """What each stage of a layout takes in, gives out and is made of.

    Raises:
        ReportError: No such layout.
    """
    layout = _layout(arch)
    name = name_of(layout) or arch
    parts = count_parts(layout)
    total = (sum(column) for column in list(zip(*parts, strict=True))[4:])
    return Table(
        name=f'parts_{name}',
        title=f'Parts of {_labelled(name)}, counted on the built network',
        columns=(
            Column('part'), Column('input'), Column('joined'), Column('output'), Column('bottlenecks, trunk', 'd'),
            Column('bottlenecks, transfer', 'd'), Column('I-convs', 'd'), Column('convolutions', 'd'),
        ),
        rows=[*parts, Part('in all', '', '', '', *total)],
        notes=(
            'Stage s is a resolution, 1 at the finest, and is called after where its trunk enters. I-convs: '
            'convolutions in place of an identity, as a shortcut or to down-sample. The linear layer counts as a '
            'convolution.',
        ),
    )  # fmt: skip


def check_arguments(parts: Iterable[str], out: Path | None) -> None:
    """Refuses what would fail only after minutes of work.

    Raises:
        ReportError: An unknown layout, or an output folder that cannot be one.
    """
    for name in parts:
        _layout(name)
    if out is None:
        return
    ground = next(path for path in (out.resolve(), *out.resolve().parents) if path.exists())
    if not ground.is_dir():
        raise ReportError(f'--out {out}: {ground} is a file; name a folder')
    if not os.access(ground, os.W_OK):
        raise ReportError(f'--out {out}: {ground} cannot be written to; name another folder')


def _labelled(name: str) -> str:
    return f'{name} (a reconstruction)' if name in RECONSTRUCTED else name


def _layout(name: str) -> FishNetArch:
    try:
        return resolve_arch(name)
    except ValueError as error:
        raise ReportError(f'--parts {name}: {error}') from error


def _published(source: str) -> str:
    return f'{source}; {NOT_MEASURED}'


def _count(row: PublishedError) -> Counts | None:
    return count_model(row.model, row.options)


def _ablated(row: PublishedAblation) -> tuple[int | None, float | None]:
    return _counted(count_model('fishnet150', tuple(row.options.items())))[:2]


def _counted(counts: Counts | None) -> tuple[int | None, float | None, int | None]:
    """Parameters, GMACs, convolutions, in the order of the tables."""
    return (None, None, None) if counts is None else (counts.parameters, counts.gmacs, counts.convolutions)
