"""The figures of an experiment: tables with mean and spread over seeds, and curves. Whatever is missing stays visible."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fishnet_mmdet.lab.compare.execute import FIGURES
from fishnet_mmdet.lab.compare.experiment import Experiment, counts
from fishnet_mmdet.lab.compare.runs import Run, best_rate, counted
from fishnet_mmdet.lab.tables import Column, Table

READINGS = {'epochs': 'equal epochs', 'time': 'equal device time'}
TYPES = ('segm', 'bbox')
COLOURS = ['#D55E00', '#0072B2', '#E69F00', '#009E73', '#8C2D04', '#CC79A7', '#56B4E9', '#4B5563']
"""Of backbones, in the experiment's order; the colour-blind can tell them apart."""

Results = Mapping[Path, Mapping]


def tables(e: Experiment, done: Results, machine: str) -> list[Table]:
    """AP, cost, learning rates, and what failed."""
    return [_ap(e, done, machine), _differences(e, done), _cost(e, done), _rates(e, done), _failures(e, done)]


def spread(values: Sequence[float | None]) -> str | None:
    """Mean and standard deviation of fractions, in percent; one value alone has no spread, None is none."""
    values = [value for value in values if value is not None]
    if not values:
        return None
    mean = f'{100 * np.mean(values):.1f}'
    return mean if len(values) == 1 else f'{mean} ± {100 * np.std(values, ddof=1):.1f}'


def _runs(e: Experiment, track: str, backbone: str, reading: str, done: Results) -> dict[int, Mapping]:
    """Finished runs that count, by seed."""
    found = {seed: done.get(counted(e, track, backbone, reading, seed, done).folder, {}) for seed in e.seeds}
    return {seed: result for seed, result in found.items() if 'segm' in result}


def _ap(e: Experiment, done: Results, machine: str) -> Table:
    rows = []
    for track in e.tracks:
        for reading, title in READINGS.items():
            for backbone in e.backbones:
                runs = _runs(e, track, backbone, reading, done)
                epochs = next((run['epochs'] for run in runs.values()), None)
                for kind in TYPES:
                    figures = [spread([r[kind][f] for r in runs.values()]) for f in FIGURES]
                    rows.append((track, title, backbone, f'{len(runs)} of {len(e.seeds)}', epochs, kind, *figures))
    names = ('track', 'reading', 'backbone', 'seeds', 'epochs', 'type')
    return Table(
        name='ap',
        title=f'{e.name}: AP on val, last epoch',
        columns=[*(Column(name) for name in names), *(Column(name, 's') for name in FIGURES)],
        rows=[tuple(str(v) if isinstance(v, int) else v for v in row) for row in rows],
        notes=[f'Mean ± standard deviation over the seeds, in percent; - where nothing was run. {machine}.'],
    )


def _differences(e: Experiment, done: Results) -> Table:
    rows = []
    for track in e.tracks:
        for reading, title in READINGS.items():
            base = _runs(e, track, e.baseline, reading, done)
            for backbone in e.backbones:
                runs = _runs(e, track, backbone, reading, done)
                shared = sorted(set(runs) & set(base))
                if backbone != e.baseline and shared:
                    off = [[runs[s][kind]['AP'] - base[s][kind]['AP'] for s in shared] for kind in TYPES]
                    rows.append((track, title, backbone, str(len(shared)), *map(spread, off)))
    return Table(
        name='differences',
        title=f'AP above {e.baseline}, seed by seed',
        columns=[
            *map(Column, ('track', 'reading', 'backbone', 'seeds')),
            *(Column(kind, 's') for kind in TYPES),
        ],
        rows=rows,
        notes=['Mean ± standard deviation of the differences of runs of the same seed. The paper, on COCO: FishNet-150 '
               'above ResNet-50 by 2.3 segm and 2.8 bbox.'],
    )  # fmt: skip


def _cost(e: Experiment, done: Results) -> Table:
    rows = []
    for backbone, spec in e.backbones.items():
        size = counts(spec, e.side)
        for track in e.tracks:
            runs = list(_runs(e, track, backbone, 'epochs', done).values())
            rows.append(
                (
                    backbone,
                    size.parameters / 1e6,
                    size.gmacs,
                    track,
                    *(_median(runs, key) for key in ('iteration_ms', 'train_seconds', 'device_peak_mb', 'process_peak_mb')),
                )
            )  # fmt: skip
    return Table(
        name='cost',
        title='What it costs',
        columns=[
            Column('backbone'), Column('M parameters', '.1f'), Column('GMACs', '.1f'), Column('track'),
            Column('ms / iteration', '.0f'), Column('training s', '.0f'), Column('device peak MB', '.0f'),
            Column('process peak MB', '.0f'),
        ],
        rows=rows,
        notes=[f'Parameters and multiply-adds of the backbone, for {e.side} x {e.side} pixels; iterations of the whole detector, '
               'medians over the runs of equal epochs. Device peak: as MMEngine logs it on CUDA.'],
    )  # fmt: skip


def _median(runs: Sequence[Mapping], key: str) -> float | None:
    values = [run[key] for run in runs if run.get(key) is not None]
    return float(np.median(values)) if values else None


def _rates(e: Experiment, done: Results) -> Table:
    rows = []
    for name, track in e.tracks.items():
        for backbone in e.backbones:
            chosen = best_rate(track, name, backbone, done)
            for rate in track.rates:
                result = done.get(Run(track=name, backbone=backbone, kind='rate', rate=rate).folder)
                ap = None if result is None else spread([result['segm']['AP']]) if 'segm' in result else 'failed'
                rows.append((name, backbone, f'{rate:g}', ap, 'yes' if rate == chosen else None))
    return Table(
        name='rates',
        title='Learning rates, chosen on images held out of the training set',
        columns=[
            *map(Column, ('track', 'backbone', 'rate')),
            Column('segm AP', 's'),
            Column('chosen'),
        ],
        rows=rows,
        notes=[f'{e.rate_epochs} epochs, seed 0; {100 * e.held_out:g} % of the training images are held out for this alone.'],
    )  # fmt: skip


def _failures(e: Experiment, done: Results) -> Table:
    rows = [(str(folder), result['failed']) for folder, result in done.items() if 'failed' in result]
    return Table(
        name='failures',
        title='Runs that failed',
        columns=[Column('run'), Column('reason')],
        rows=rows,
        notes=['None.'] if not rows else ['Delete the folder of one to run it again.'],
    )


def draw_curves(e: Experiment, done: Results, out: Path) -> bool:
    """Draws segm AP over epochs and over device time, and the loss, a row for each track; each seed is a thin line.

    Returns:
        Whether there was anything to draw.
    """
    drawn = [name for name in e.tracks if any(_runs(e, name, b, 'epochs', done) for b in e.backbones)]
    if not drawn:
        return False
    figure = Figure(figsize=(14, 4.2 * len(drawn)), layout='constrained')
    grid = figure.subplots(len(drawn), 3, squeeze=False)
    for row, track in zip(grid, drawn, strict=True):
        for colour, backbone in zip(_colours(e), e.backbones, strict=True):
            runs = {name: list(_runs(e, track, backbone, name, done).values()) for name in READINGS}
            _draw_runs(row, runs['epochs'], backbone, 'epochs', colour, '-')
            if runs['time'] != runs['epochs']:
                _draw_runs(row, runs['time'], backbone, 'time', colour, ':')
        _label(row, track)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=120)
    return True


def _colours(e: Experiment) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(len(e.backbones))]


def _draw_runs(
    row: Sequence[Axes], runs: Sequence[Mapping], backbone: str, reading: str, colour: str, line: str
) -> None:
    by_epoch, by_time, loss = row
    for i, run in enumerate(runs):
        name = f'{backbone}, {READINGS[reading]}' if i == 0 else None
        epochs = np.array([int(epoch) for epoch in run['segm_curve']])
        aps = [100 * figures['AP'] for figures in run['segm_curve'].values()]
        style = dict(color=colour, linestyle=line, linewidth=1.2, label=name)
        if reading == 'epochs':
            by_epoch.plot(epochs, aps, marker='o', markersize=3, **style)
            loss.plot([int(step) for step in run['loss']], list(run['loss'].values()), **style)
        by_time.plot(epochs / run['epochs'] * run['train_seconds'] / 60, aps, marker='o', markersize=3, **style)


def _label(row: Sequence[Axes], track: str) -> None:
    by_epoch, by_time, loss = row
    by_epoch.set(title=f'{track}: segm AP on val', xlabel='epochs', ylabel='AP, %')
    by_time.set(title=f'{track}: segm AP on val', xlabel='minutes of training (validation not counted)')
    loss.set(title=f'{track}: training loss', xlabel='iterations', yscale='log')
    for axes in row:
        axes.grid(alpha=0.3)
    by_time.legend(fontsize=7)
