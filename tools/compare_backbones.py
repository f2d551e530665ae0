#!/usr/bin/env python
"""Trains one detector on many backbones, alike, and says which is better: tables, curves, pictures."""

import argparse
import sys
import time
from pathlib import Path

import torch
from rich.console import Console

from fishnet_mmdet.lab.benchmark.machine import describe, sentence
from fishnet_mmdet.lab.compare import execute
from fishnet_mmdet.lab.compare.experiment import CompareError, Experiment, read_experiment
from fishnet_mmdet.lab.compare.pictures import draw_pictures
from fishnet_mmdet.lab.compare.report import draw_curves, tables
from fishnet_mmdet.lab.compare.runs import KINDS, Run, configure, ordered
from fishnet_mmdet.lab.tables import write_tables
from fishnet_mmdet.preflight import PreflightError
from fishnet_mmdet.training.stopping import STOPPED


def main() -> None:
    """Parses the flags, runs what is missing, reports what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('experiment', type=Path, help='what is compared, such as configs/experiments/nuclei.py')
    add('--out', type=Path, metavar='DIR', help='default: work_dirs/compare/NAME')
    add('--backbones', nargs='+', default=[], help='only these')
    add('--tracks', nargs='+', default=[], help='only these')
    add('--seeds', nargs='+', type=int, default=[], help="instead of the experiment's")
    add('--kinds', nargs='+', choices=KINDS, default=KINDS, help='only runs of these kinds')
    add('--resume', action='store_true', help='go on where an earlier call stopped')
    add(
        '--minutes',
        type=float,
        help='stop after so many: the run at hand saves, and --resume goes on with it',
    )
    add('--report', action='store_true', help='run nothing; report what is there')
    args = parser.parse_args()
    console = Console(soft_wrap=True)
    try:
        whole = read_experiment(args.experiment)
        part = whole.only(args.backbones, args.tracks, args.seeds)
        out = (args.out or Path('work_dirs/compare') / whole.name).resolve()
        done = execute.read_results(out)
        if not (args.resume or args.report) and (out / 'configs').is_dir():
            raise CompareError(f'{out} has runs of an earlier call: --resume goes on with them')
        stopped = None if args.report else run(part, done, out, args, console)
        report(whole.only(seeds=args.seeds), done, out, console)
    except (CompareError, PreflightError) as error:
        sys.exit(f'error: {error}')
    if stopped:
        console.print(f'{stopped}: call again with --resume')
        sys.exit(STOPPED)


def run(
    e: Experiment, done: dict[Path, dict], out: Path, args: argparse.Namespace, console: Console
) -> execute.Stopped | None:
    """Trains what has no result yet; returns why it stopped before the end, if it did."""
    deadline = time.monotonic() + 60 * args.minutes if args.minutes else None
    for each in ordered(e, done, tuple(args.kinds)):
        if each.folder in done:
            continue
        if deadline and time.monotonic() > deadline:
            return execute.Stopped('the time is up')
        start = time.monotonic()
        execute.prepare(configure(e, each, out), out, each.folder)
        try:
            with console.status(str(each)) as status:
                done[each.folder] = execute.execute(
                    out, each.folder, deadline, lambda line, run=each: status.update(f'{run}: {line}')
                )
        except execute.Stopped as stopped:
            done.update(execute.read_results(out))
            return stopped
        console.print(f'{each}: {_short(done[each.folder])}, {time.monotonic() - start:.0f} s')
    return None


def _short(result: dict) -> str:
    if 'failed' in result:
        return f'failed ({result["failed"]})'
    if 'segm' in result:
        return f'segm AP {100 * result["segm"]["AP"]:.1f}, bbox AP {100 * result["bbox"]["AP"]:.1f}'
    return f'top-1 {result["top1"]:.1f} %' if 'top1' in result else 'done'


def report(e: Experiment, done: dict[Path, dict], out: Path, console: Console) -> None:
    """Shows and writes tables, curves and pictures of all there is."""
    found = tables(e, done, sentence(describe('cuda' if torch.cuda.is_available() else 'cpu')))
    for table in found:
        if table.rows:
            Console(width=max(console.width, 160)).print(table.on_screen())
    write_tables(found, out)
    draw_curves(e, done, out / 'curves.png')
    for track in e.tracks:
        runs = {b: Run(track=track, backbone=b, kind='epochs', seed=e.seeds[0]).folder for b in e.backbones}
        there = {
            b: (execute.config_of(out, f), done[f]['checkpoint']) for b, f in runs.items() if 'segm' in done.get(f, {})
        }
        if there:
            draw_pictures(there, e.pictures, out / f'pictures_{track}.png')
    console.print(f'tables, curves.png and pictures are in {out}')


if __name__ == '__main__':
    main()
