"""The tables of the paper: published figures, counts of the built networks, and the user's own runs beside them.

Published figures are data (`evaluation/published.py`) and labelled as published. What can be counted is counted on the
built network (`lab/counting.py`).
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from fishnet_mmdet.base.tables import Column, Table, Value
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
from fishnet_mmdet.lab.counting import Counts, Part, count_model, count_parts
from fishnet_mmdet.lab.paper.own_runs import TablesError, TrainedRun
from fishnet_mmdet.network.arch import ARCHS, PUBLISHED, FishNetArch, name_of, resolve_arch

AP_COLUMNS = ('AP', 'AP_S', 'AP_M', 'AP_L')
OWN_DATA = (
    'Own rows are on the data that the run was tested on; they compare with the published rows only if that is {}.'
)

PARAMETERS, CONVOLUTIONS, GMACS = (
    Column('parameters, counted', ',d'),
    Column('convolutions, counted', 'd'),
    Column('GMACs, counted', '.3f'),
)
ERROR, SOURCE = Column('top-1 error, %', '.2f'), Column('source')


def all_tables(runs: dict[str, list[TrainedRun]], parts: Iterable[str] = ()) -> list[Table]:
    """Every table, in the paper's order.

    Args:
        runs: From `read_runs`.
        parts: Names of architectures whose stages to list.
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
    """Size and cost of every architecture of `ARCHS`, beside published figures."""
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
            'Counted on the built network. GMACs: multiply-adds of the convolutions and the linear layer only.',
            f'Released: README of {FISHNET_README}, which counts more operations as GMACs; {NOT_MEASURED}.',
            f'Paper: arXiv 1901.03495, whose FishNet-150 has an architecture that was never released; {NOT_MEASURED}.',
            'The number in a name does not count the linear layer.',
        ),
    )  # fmt: skip


def imagenet_table(runs: Iterable[TrainedRun]) -> Table:
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
            'Named after its content: which of these figures are in Table 1 of the paper was not checked.',
            SOURCES,
            'Counted: released architectures. Those of FishNet-150 and FishNeXt-150 in the paper were never released.',
            *([OWN_DATA.format('ImageNet val')] if runs else []),
        ),
    )  # fmt: skip


def down_sampling_table() -> Table:
    """FishNet-150 with each kind of down-sampling in tail and head."""
    return Table(
        name='table2_down_sampling',
        title='Table 2: FishNet-150 with another down-sampling in tail and head',
        columns=(Column('down-sampling'), Column('paper, M parameters', '.1f'), PARAMETERS, GMACS, ERROR, SOURCE),
        rows=[
            (row.choice, row.parameters, *_ablated(row), row.error, _published(row.source))
            for row in DOWN_SAMPLING
        ],
        notes=('Counted on the released architecture; the errors and parameters of the paper are of its own.',),
    )  # fmt: skip


def ablations_table() -> Table:
    """FishNet-150 with the other changes of section 4.3."""
    return Table(
        name='section4_3_ablations',
        title='FishNet-150 with other changes (the paper, section 4.3)',
        columns=(Column('change'), PARAMETERS, GMACS, Column('change of top-1 error, points', '+.2f'), SOURCE),
        rows=[
            (row.choice, *_ablated(row), row.change, _published(row.source)) for row in OTHER_ABLATIONS
        ],
        notes=(
            "Taken from a reader's notes on the paper, not from the paper itself. Dilation in body and head raises "
            'the error; the amount is not known here.',
        ),
    )  # fmt: skip


def coco_table(runs: Iterable[TrainedRun]) -> Table:
    """AP on COCO val2017: published figures, and own runs."""
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
    """Input, output and blocks of each stage of an architecture.

    Args:
        arch: A name of `ARCHS`, also short ('150').

    Raises:
        TablesError: An unknown name.
    """
    resolved = _resolve(arch)
    name = name_of(resolved) or arch
    parts = count_parts(resolved)
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
            'Stage s is a resolution, 1 is the finest; a part is named after the stage at which its trunk enters. '
            'I-convs: convolutions in place of an identity, as a shortcut or to down-sample. The linear layer counts '
            'as a convolution.',
        ),
    )  # fmt: skip


def check_arguments(parts: Iterable[str], out: Path | None) -> None:
    """Checks arguments before minutes of work.

    Args:
        parts: Names of architectures.
        out: Output folder; None for none.

    Raises:
        TablesError: An unknown architecture, or an output folder that cannot be created or written.
    """
    for name in parts:
        _resolve(name)
    if out is None:
        return
    ground = next(path for path in (out.resolve(), *out.resolve().parents) if path.exists())
    if not ground.is_dir():
        raise TablesError(f'--out {out}: {ground} is a file; give a folder')
    if not os.access(ground, os.W_OK):
        raise TablesError(f'--out {out}: {ground} cannot be written to; give another folder')


def _labelled(name: str) -> str:
    return f'{name} (a reconstruction)' if name in RECONSTRUCTED else name


def _resolve(name: str) -> FishNetArch:
    try:
        return resolve_arch(name)
    except ValueError as error:
        raise TablesError(f'--parts {name}: {error}') from error


def _published(source: str) -> str:
    return f'{source}; {NOT_MEASURED}'


def _count(row: PublishedError) -> Counts | None:
    return count_model(row.model, row.options)


def _ablated(row: PublishedAblation) -> tuple[int | None, float | None]:
    return _counted(count_model('fishnet150', tuple(row.options.items())))[:2]


def _counted(counts: Counts | None) -> tuple[int | None, float | None, int | None]:
    """Parameters, GMACs, convolutions, in the order of the tables."""
    return (None, None, None) if counts is None else (counts.parameters, counts.gmacs, counts.convolutions)
