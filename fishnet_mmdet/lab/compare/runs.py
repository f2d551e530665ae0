"""The runs of an experiment and their order: pretraining, choice of the learning rate, and the runs that count."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fishnet_mmdet.lab.compare.experiment import Experiment, Track
from fishnet_mmdet.lab.compare.results import Results, judged

KINDS = ('pretrain', 'rate', 'epochs', 'time')
"""Kinds of runs, in the order in which they depend on each other.

'epochs' runs train every backbone for equally many epochs, the first reading of the tables. 'time' runs train every
backbone for equally much device time, the second reading.
"""


@dataclass(frozen=True, kw_only=True)
class ExperimentRun:
    """One training of an experiment.

    Attributes:
        track: Name of its track.
        backbone: Name of its backbone.
        kind: One of `KINDS`.
        seed: Seed of weights, order and augmentation.
        rate: Learning rate; None for the config's.
        epochs: Number of epochs; None for the config's.
        weights: Checkpoint of the classifier that pretrained its backbone; None without pretraining.
    """

    track: str
    backbone: str
    kind: str
    seed: int = 0
    rate: float | None = None
    epochs: int | None = None
    weights: str | None = None

    @property
    def folder(self) -> Path:
        """Its folder, relative to the experiment's: TRACK/BACKBONE/NAME."""
        names = {
            'pretrain': 'pretrain',
            'rate': f'rate-{self.rate or 0:g}',
            'epochs': f'epochs-seed-{self.seed}',
            'time': f'time-{self.epochs}-epochs-seed-{self.seed}',
        }
        return Path(self.track, self.backbone, names[self.kind])

    def __str__(self) -> str:
        return str(self.folder)


def ordered(e: Experiment, done: Results, kinds: tuple[str, ...] = KINDS) -> Iterator[ExperimentRun]:
    """The runs in their order, each as soon as the results that it needs are there.

    Args:
        e: The experiment.
        done: Results by folder. The caller adds results while it iterates: learning rates and equal device time are
            chosen from the results that are there at that moment.
        kinds: Kinds of runs to yield.

    Yields:
        Runs, also those whose folder is in `done`. A run is left out if a result that it needs is missing, because
        the run before it failed.
    """
    for group in e.rounds:
        for name, track in e.tracks.items():
            if track.pretrain and 'pretrain' in kinds:
                yield from (ExperimentRun(track=name, backbone=b, kind='pretrain') for b in group)
            ready = [b for b in group if not track.pretrain or weights_of(name, b, done)]
            if 'rate' in kinds:
                yield from (_rate_run(e, name, b, rate, done) for b in ready for rate in track.rates)
            if 'epochs' in kinds:
                yield from _runs_that_count(e, name, ready, done, 'epochs')
    if 'time' in kinds:
        for name in e.tracks:
            yield from _longer_runs(e, name, done)


def _rate_run(e: Experiment, track: str, backbone: str, rate: float, done: Results) -> ExperimentRun:
    weights = weights_of(track, backbone, done)
    return ExperimentRun(track=track, backbone=backbone, kind='rate', rate=rate, epochs=e.rate_epochs, weights=weights)


def _runs_that_count(
    e: Experiment, track: str, backbones: list[str], done: Results, reading: str
) -> Iterator[ExperimentRun]:
    """Seed by seed, so that a comparison that is not finished has equally many runs of each backbone."""
    for seed in e.seeds:
        for backbone in backbones:
            rate = best_rate(e.tracks[track], track, backbone, done)
            if rate is not None:
                run = run_that_counts(e, track, backbone, reading, seed, done)
                yield replace(run, rate=rate, weights=weights_of(track, backbone, done))


def _longer_runs(e: Experiment, track: str, done: Results) -> list[ExperimentRun]:
    """The runs of equal time, once those of equal epochs say how long they are; none of the slowest backbone."""
    backbones = [b for group in e.rounds for b in group if best_rate(e.tracks[track], track, b, done) is not None]
    if any(run.folder not in done for run in _runs_that_count(e, track, backbones, done, 'epochs')):
        return []
    return [run for run in _runs_that_count(e, track, backbones, done, 'time') if run.kind == 'time']


def run_that_counts(e: Experiment, track: str, backbone: str, reading: str, seed: int, done: Results) -> ExperimentRun:
    """The run whose figures stand for a backbone in a reading.

    For the slowest backbone it is the same run in both readings.

    Args:
        e: The experiment.
        track: Name of the track.
        backbone: Name of the backbone.
        reading: 'epochs' or 'time'.
        seed: Seed of the run.
        done: Results by folder.
    """
    epochs = epochs_of_equal_time(e, track, backbone, done) if reading == 'time' else None
    kind = 'time' if epochs else 'epochs'
    return ExperimentRun(track=track, backbone=backbone, kind=kind, seed=seed, epochs=epochs)


def weights_of(track: str, backbone: str, done: Results) -> str | None:
    """The checkpoint of a backbone's pretraining; None before or without one."""
    return done.get(ExperimentRun(track=track, backbone=backbone, kind='pretrain').folder, {}).get('checkpoint')


def best_rate(track: Track, name: str, backbone: str, done: Results) -> float | None:
    """The learning rate with the highest AP on the held-out images: segm AP, or bbox AP of a detector without masks.

    Args:
        track: The track.
        name: Name of the track.
        backbone: Name of the backbone.
        done: Results by folder.

    Returns:
        None until every rate was tried, and if all of them failed.
    """
    tried = [done.get(ExperimentRun(track=name, backbone=backbone, kind='rate', rate=r).folder) for r in track.rates]
    if not all(tried):
        return None
    aps = {
        rate: result[kind]['AP'] for rate, result in zip(track.rates, tried, strict=True) if (kind := judged(result))
    }
    return max(aps, key=aps.get, default=None)


def epochs_of_equal_time(e: Experiment, track: str, backbone: str, done: Results) -> int | None:
    """The number of epochs that fit into the time of the slowest backbone's run of equal epochs.

    Returns:
        None if that is not more than the epochs it was trained for, as for the slowest backbone itself, and for a
        backbone without results.
    """
    seconds, epochs = {}, {}
    for name in e.backbones:
        runs = [done.get(ExperimentRun(track=track, backbone=name, kind='epochs', seed=s).folder, {}) for s in e.seeds]
        if times := [run['train_seconds'] for run in runs if 'train_seconds' in run]:
            seconds[name] = float(np.median(times))
            epochs[name] = next(run['epochs'] for run in runs if 'epochs' in run)
    if backbone not in seconds:
        return None
    more = round(epochs[backbone] * max(seconds.values()) / seconds[backbone])
    return more if more > epochs[backbone] else None
