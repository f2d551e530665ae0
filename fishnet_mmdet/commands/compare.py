"""Trains one detector on several backbones in the same way and compares them: tables, curves, pictures."""

import argparse
from pathlib import Path

from rich.console import Console

from fishnet_mmdet.lab.compare.experiment import read_experiment
from fishnet_mmdet.lab.compare.results import read_results
from fishnet_mmdet.lab.compare.runs import KINDS
from fishnet_mmdet.lab.compare.session import check_is_new, report, train_missing
from fishnet_mmdet.training.stopping import STOPPED


def run(args: argparse.Namespace) -> int:
    """Trains what is missing and reports what is there."""
    console = Console(soft_wrap=True)
    whole = read_experiment(args.experiment)
    part = whole.only(args.backbones, args.tracks, args.seeds)
    out = (args.out or Path('work_dirs/compare') / whole.name).resolve()
    done = read_results(out)
    if not (args.resume or args.report):
        check_is_new(out)
    stopped = None
    if not args.report:
        stopped = train_missing(part, done, out, tuple(args.kinds), args.minutes, console)
    report(whole.only(seeds=args.seeds), done, out, console)
    if stopped:
        console.print(f'{stopped}: call again with --resume')
        return STOPPED
    return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    add = parser.add_argument
    add('experiment', type=Path, help='file that says what is compared, such as configs/experiments/nuclei.py')
    add('--out', type=Path, metavar='DIR', help='default: work_dirs/compare/NAME')
    add('--backbones', nargs='+', default=[], metavar='NAME', help='train only these backbones')
    add('--tracks', nargs='+', default=[], metavar='NAME', help='train only on these tracks')
    add('--seeds', nargs='+', type=int, default=[], metavar='N', help="seeds in place of the experiment's")
    add('--kinds', nargs='+', choices=KINDS, default=KINDS, help='train only runs of these kinds')
    add('--resume', action='store_true', help='continue the runs of an earlier call')
    add(
        '--minutes',
        type=float,
        metavar='N',
        help='stop after N minutes; the current run saves, and --resume continues it',
    )
    add('--report', action='store_true', help='train nothing; report what is there')
