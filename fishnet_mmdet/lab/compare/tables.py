"""The results of an experiment as tables, with mean and standard deviation over seeds; missing results stay visible."""

from collections.abc import Mapping, Sequence

import numpy as np

from fishnet_mmdet.base.tables import Column, Table
from fishnet_mmdet.evaluation.coco_names import CLASS_FIGURES
from fishnet_mmdet.lab.compare.experiment import Experiment
from fishnet_mmdet.lab.compare.networks import count_backbone
from fishnet_mmdet.lab.compare.results import Results, judged
from fishnet_mmdet.lab.compare.runs import ExperimentRun, best_rate, run_that_counts

READINGS = {'epochs': 'equal epochs', 'time': 'equal device time'}
TYPES = ('segm', 'bbox')


def all_tables(e: Experiment, done: Results, machine: str) -> list[Table]:
    """AP, differences from the baseline, cost, learning rates, and failed runs.

    Args:
        e: The experiment.
        done: Results by folder.
        machine: One line about the machine, for the notes.
    """
    return [
        ap_table(e, done, machine),
        differences_table(e, done),
        cost_table(e, done),
        rates_table(e, done),
        failures_table(done),
    ]


def mean_and_deviation(values: Sequence[float | None]) -> str | None:
    """Mean and standard deviation of fractions, in percent; None of no values, and no deviation of one value."""
    values = [value for value in values if value is not None]
    if not values:
        return None
    mean = f'{100 * np.mean(values):.1f}'
    return mean if len(values) == 1 else f'{mean} ± {100 * np.std(values, ddof=1):.1f}'


def finished(e: Experiment, track: str, backbone: str, reading: str, done: Results) -> dict[int, Mapping]:
    """Results of the finished runs that count in a reading, by seed."""
    found = {seed: done.get(run_that_counts(e, track, backbone, reading, seed, done).folder, {}) for seed in e.seeds}
    return {seed: result for seed, result in found.items() if judged(result)}


def ap_table(e: Experiment, done: Results, machine: str) -> Table:
    """COCO's figures on the validation images after the last epoch."""
    rows = []
    for track in e.tracks:
        for reading, title in READINGS.items():
            for backbone in e.backbones:
                runs = finished(e, track, backbone, reading, done)
                epochs = next((str(run['epochs']) for run in runs.values()), None)
                for kind in TYPES:
                    figures = [
                        mean_and_deviation([r[kind][f] for r in runs.values() if kind in r]) for f in CLASS_FIGURES
                    ]
                    rows.append((track, title, backbone, f'{len(runs)} of {len(e.seeds)}', epochs, kind, *figures))
    names = ('track', 'reading', 'backbone', 'seeds', 'epochs', 'type')
    return Table(
        name='ap',
        title=f'{e.name}: AP on val, last epoch',
        columns=[*(Column(name) for name in names), *(Column(name, 's') for name in CLASS_FIGURES)],
        rows=rows,
        notes=[f'Mean ± standard deviation over the seeds, in percent; - where nothing was run. {machine}.'],
    )


def differences_table(e: Experiment, done: Results) -> Table:
    """AP of each backbone minus AP of the baseline, of runs with the same seed."""
    rows = []
    for track in e.tracks:
        for reading, title in READINGS.items():
            base = finished(e, track, e.baseline, reading, done)
            for backbone in e.backbones:
                runs = finished(e, track, backbone, reading, done)
                shared = sorted(set(runs) & set(base))
                if backbone != e.baseline and shared:
                    above = [
                        [runs[s][kind]['AP'] - base[s][kind]['AP'] for s in shared if kind in runs[s]] for kind in TYPES
                    ]
                    rows.append((track, title, backbone, str(len(shared)), *map(mean_and_deviation, above)))
    names = ('track', 'reading', 'backbone', 'seeds')
    return Table(
        name='differences',
        title=f'AP above {e.baseline}, seed by seed',
        columns=[*map(Column, names), *(Column(kind, 's') for kind in TYPES)],
        rows=rows,
        notes=[
            'Mean ± standard deviation of the differences between runs of the same seed. In the paper, on COCO, '
            'FishNet-150 is above ResNet-50 by 2.3 segm and 2.8 bbox.'
        ],
    )


def cost_table(e: Experiment, done: Results) -> Table:
    """Size, time and memory of each backbone."""
    measured = ('iteration_ms', 'train_seconds', 'device_peak_mb', 'process_peak_mb')
    rows = []
    for backbone, spec in e.backbones.items():
        size = count_backbone(spec, e.side)
        for track in e.tracks:
            runs = list(finished(e, track, backbone, 'epochs', done).values())
            medians = (_median(runs, key) for key in measured)
            rows.append((backbone, size.parameters / 1e6, size.gmacs, track, *medians))
    return Table(
        name='cost',
        title='What it costs',
        columns=[
            Column('backbone'), Column('M parameters', '.1f'), Column('GMACs', '.1f'), Column('track'),
            Column('ms / iteration', '.0f'), Column('training s', '.0f'), Column('device peak MB', '.0f'),
            Column('process peak MB', '.0f'),
        ],
        rows=rows,
        notes=[
            f'Parameters and multiply-adds: of the backbone, for {e.side} x {e.side} pixels. Iterations: of the whole '
            'detector, medians over the runs of equal epochs. Device peak: as MMEngine logs it on CUDA.'
        ],
    )  # fmt: skip


def _median(runs: Sequence[Mapping], key: str) -> float | None:
    values = [run[key] for run in runs if run.get(key) is not None]
    return float(np.median(values)) if values else None


def rates_table(e: Experiment, done: Results) -> Table:
    """AP of each learning rate on the held-out images, and which rate was chosen."""
    rows = []
    for name, track in e.tracks.items():
        for backbone in e.backbones:
            chosen = best_rate(track, name, backbone, done)
            for rate in track.rates:
                run = ExperimentRun(track=name, backbone=backbone, kind='rate', rate=rate)
                rows.append(
                    (name, backbone, f'{rate:g}', _rate_ap(done.get(run.folder)), 'yes' if rate == chosen else None)
                )
    return Table(
        name='rates',
        title='Learning rates, chosen on images held out of the training set',
        columns=[*map(Column, ('track', 'backbone', 'rate')), Column('AP', 's'), Column('chosen')],
        rows=rows,
        notes=[
            f'segm AP, or bbox AP of detectors without masks. {e.rate_epochs} epochs, seed 0. {100 * e.held_out:g} % '
            'of the training images are held out for this choice only.'
        ],
    )


def _rate_ap(result: Mapping | None) -> str | None:
    if result is None:
        return None
    kind = judged(result)
    return mean_and_deviation([result[kind]['AP']]) if kind else 'failed'


def failures_table(done: Results) -> Table:
    """The runs that failed, and why."""
    rows = [(str(folder), result['failed']) for folder, result in done.items() if 'failed' in result]
    return Table(
        name='failures',
        title='Runs that failed',
        columns=[Column('run'), Column('reason')],
        rows=rows,
        notes=['None.'] if not rows else ['Delete the folder of a run to run it again.'],
    )
