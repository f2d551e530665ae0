"""Shows one or several runs as a page: which one is better, curves, settings that differ, pictures.

The page needs no network and no other file; a PNG of each chart and CSV files lie beside it. Runs of any MMDetection
config can be shown, also while they train.
"""

import argparse
from pathlib import Path

from fishnet_mmdet.runs.plot import default_folder, plot


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    add = parser.add_argument
    add('work_dirs', type=Path, nargs='+', metavar='WORK_DIR', help='work dirs of runs')
    add('--out', type=Path, metavar='DIR', help='folder to write to (default: plot, in or beside the work dirs)')
    add(
        '--names',
        nargs='+',
        metavar='NAME',
        help='a name for each run (default: what differs in the names of the folders)',
    )
    add(
        '--metric',
        metavar='KEY',
        help='figure to compare the runs by, such as bbox_mAP (default: segm_mAP, else bbox_mAP)',
    )
    add('--pictures', type=int, default=6, metavar='N', help='images to show with predictions (default: %(default)s)')
    add('--no-groups', action='store_true', help='show runs that differ only in their seeds as runs of their own')


def run(args: argparse.Namespace) -> None:
    """Reads, draws and writes."""
    out = args.out or default_folder(args.work_dirs)
    written = plot(
        args.work_dirs,
        out,
        names=args.names,
        metric=args.metric,
        pictures=args.pictures,
        grouped=not args.no_groups,
    )
    print(written.verdict.text())
    print(f'page: {written.page} (with {len(written.files) - 1} PNG and CSV files beside it)')
