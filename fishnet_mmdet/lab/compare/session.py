"""One call of the comparison: trains what has no result yet, and reports what is there."""

import time
from pathlib import Path

import torch
from rich.console import Console

from fishnet_mmdet.base.tables import write_tables
from fishnet_mmdet.lab.compare.configure import check_backbones, configure
from fishnet_mmdet.lab.compare.curves import draw_curves
from fishnet_mmdet.lab.compare.execute import RunStopped, config_of, execute, prepare
from fishnet_mmdet.lab.compare.experiment import CompareError, Experiment
from fishnet_mmdet.lab.compare.pictures import draw_pictures
from fishnet_mmdet.lab.compare.results import Results, judged, read_results
from fishnet_mmdet.lab.compare.runs import ExperimentRun, ordered
from fishnet_mmdet.lab.compare.tables import TYPES, all_tables
from fishnet_mmdet.lab.machine import describe, sentence

MIN_WIDTH = 160
"""Columns of text below which numbers would be cut."""


def check_is_new(out: Path) -> None:
    """Checks that a folder has no runs of an earlier call.

    Raises:
        CompareError: It has.
    """
    if (out / 'configs').is_dir():
        raise CompareError(f'{out} has runs of an earlier call; give --resume to continue them, or another --out')


def train_missing(
    e: Experiment, done: dict[Path, dict], out: Path, kinds: tuple[str, ...], minutes: float | None, console: Console
) -> RunStopped | None:
    """Trains every run that has no result yet.

    Args:
        e: The experiment.
        done: Results by folder; new results are added.
        out: Folder of the experiment.
        kinds: Kinds of runs to train.
        minutes: Time after which to stop; None for no limit.
        console: Where to print each result.

    Returns:
        Why it stopped before the end; None if it did not.

    Raises:
        CompareError: A run that cannot start, or no time to train in.
    """
    if minutes is not None and not minutes > 0:
        raise CompareError(f'--minutes {minutes:g}: must be above 0')
    check_backbones(e)
    deadline = time.monotonic() + 60 * minutes if minutes else None
    for run in ordered(e, done, kinds):
        if run.folder in done:
            check_is_same(e, run, out, console)
            continue
        if deadline and time.monotonic() > deadline:
            return RunStopped('the time is over')
        start = time.monotonic()
        prepare(configure(e, run, out), out, run.folder)
        try:
            with console.status(str(run)) as status:
                done[run.folder] = execute(
                    out, run.folder, deadline, lambda line, run=run: status.update(f'{run}: {line}')
                )
        except RunStopped as stopped:
            done.update(read_results(out))
            return stopped
        console.print(f'{run}: {_short(done[run.folder])}, {time.monotonic() - start:.0f} s')
    return None


def check_is_same(e: Experiment, run: ExperimentRun, out: Path, console: Console) -> None:
    """Checks that a finished run is one of this experiment. Without its data, that cannot be said.

    Raises:
        CompareError: It had another config.
    """
    try:
        cfg = configure(e, run, out)
    except CompareError as error:
        console.print(f'{run}: not compared with its config: {error}', soft_wrap=True)
        return
    prepare(cfg, out, run.folder)


def _short(result: dict) -> str:
    if 'failed' in result:
        return f'failed ({result["failed"]})'
    if judged(result):
        return ', '.join(f'{kind} AP {100 * result[kind]["AP"]:.1f}' for kind in TYPES if kind in result)
    return f'top-1 {result["top1"]:.1f} %' if 'top1' in result else 'done'


def report(e: Experiment, done: Results, out: Path, console: Console) -> None:
    """Prints and writes tables, and draws curves and pictures, of all results that are there.

    Args:
        e: The experiment.
        done: Results by folder.
        out: Folder of the experiment.
        console: Where to print the tables.
    """
    tables = all_tables(e, done, sentence(describe('cuda' if torch.cuda.is_available() else 'cpu')))
    for table in tables:
        if table.rows:
            Console(width=max(console.width, MIN_WIDTH)).print(table.on_screen())
    write_tables(tables, out)
    draw_curves(e, done, out / 'curves.png')
    for track in e.tracks:
        runs = {b: ExperimentRun(track=track, backbone=b, kind='epochs', seed=e.seeds[0]).folder for b in e.backbones}
        trained = {
            b: (config_of(out, folder), done[folder]['checkpoint'])
            for b, folder in runs.items()
            if judged(done.get(folder, {}))
        }
        if gone := [checkpoint for _, checkpoint in trained.values() if not Path(checkpoint).is_file()]:
            console.print(f'no pictures of {track}: there is no {gone[0]}')
        elif trained and e.pictures:
            draw_pictures(trained, e.pictures, out / f'pictures_{track}.png')
    console.print(f'tables, curves.png and pictures are in {out}')
