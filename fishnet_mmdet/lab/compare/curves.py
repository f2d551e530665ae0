"""The results of an experiment as curves over epochs, device time and iterations."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullLocator

from fishnet_mmdet.lab.compare.experiment import Experiment
from fishnet_mmdet.lab.compare.results import Results, judged
from fishnet_mmdet.lab.compare.tables import READINGS, finished

COLOURS = ['#D55E00', '#0072B2', '#E69F00', '#009E73', '#8C2D04', '#CC79A7', '#56B4E9', '#4B5563']
"""Colours of the backbones, in the experiment's order; people with colour blindness can tell them apart."""


def draw_curves(e: Experiment, done: Results, out: Path) -> bool:
    """Draws AP over epochs and over device time, and the loss: a row for each track, a line for each seed.

    Args:
        e: The experiment.
        done: Results by folder.
        out: The PNG to write.

    Returns:
        Whether there was anything to draw.
    """
    drawn = {
        name: judged(run)
        for name in e.tracks
        for backbone in e.backbones
        for run in finished(e, name, backbone, 'epochs', done).values()
    }
    if not drawn:
        return False
    figure = Figure(figsize=(14, 4.2 * len(drawn)), layout='constrained')
    grid = figure.subplots(len(drawn), 3, squeeze=False)
    for row, (track, kind) in zip(grid, drawn.items(), strict=True):
        for colour, backbone in zip(_colours(e), e.backbones, strict=True):
            runs = {name: list(finished(e, track, backbone, name, done).values()) for name in READINGS}
            _draw_runs(row, runs['epochs'], backbone, 'epochs', colour, '-')
            if runs['time'] != runs['epochs']:
                _draw_runs(row, runs['time'], backbone, 'time', colour, ':')
        _label(row, track, kind)
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
        curve = run[f'{judged(run)}_curve']
        epochs = np.array([int(epoch) for epoch in curve])
        aps = [100 * figures['AP'] for figures in curve.values()]
        style = dict(color=colour, linestyle=line, linewidth=1.2, label=name)
        if reading == 'epochs':
            by_epoch.plot(epochs, aps, marker='o', markersize=3, **style)
            loss.plot([int(step) for step in run['loss']], list(run['loss'].values()), **style)
        by_time.plot(epochs / run['epochs'] * run['train_seconds'] / 60, aps, marker='o', markersize=3, **style)


def _label(row: Sequence[Axes], track: str, kind: str) -> None:
    by_epoch, by_time, loss = row
    by_epoch.set(title=f'{track}: {kind} AP on val', xlabel='epochs', ylabel='AP, %')
    by_time.set(title=f'{track}: {kind} AP on val', xlabel='minutes of training (validation not counted)')
    loss.set(title=f'{track}: training loss', xlabel='iterations', yscale='log')
    by_epoch.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for axes in (by_epoch, by_time):
        axes.set_xlim(left=0)
    # Most of a curve lies within less than a decade.
    loss.yaxis.set_major_locator(LogLocator(subs=(1, 1.2, 1.5, 2, 3, 5, 7)))
    loss.yaxis.set_minor_locator(NullLocator())
    loss.yaxis.set_major_formatter(FormatStrFormatter('%g'))
    for axes in row:
        axes.grid(alpha=0.3)
    by_time.legend(fontsize=7)
