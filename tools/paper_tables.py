#!/usr/bin/env python
"""Prints every table of the paper: published figures, our counts, and your own runs beside them."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from fishnet_mmdet.lab.paper.figure4 import draw_figure4
from fishnet_mmdet.lab.paper.runs import ReportError, read_runs
from fishnet_mmdet.lab.paper.table import write_tables
from fishnet_mmdet.lab.paper.tables import all_tables, check_arguments

WIDTH = 140  # at least, or the numbers would be cut


def main() -> None:
    """Parses the flags, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--work-dirs', nargs='+', type=Path, default=[], metavar='DIR', help='runs whose last figures to show'
    )
    parser.add_argument(
        '--parts', nargs='+', default=[], metavar='ARCH', help='layouts whose stages to list (fishnet150)'
    )
    parser.add_argument(
        '--out', type=Path, metavar='DIR', help='write the tables (.md, .json) and Figure 4 (.png, .svg) here'
    )
    args = parser.parse_args()
    try:
        check_arguments(args.parts, args.out)
        runs = read_runs(args.work_dirs)
    except ReportError as error:
        sys.exit(f'error: {error}')

    tables = all_tables(runs, args.parts)
    console = Console(width=max(Console().width, WIDTH))
    for table in tables:
        console.print(table.on_screen(), '')
    if args.out:
        write_tables(tables, args.out)
        draw_figure4(args.out)
        console.print(f'written to {args.out}', soft_wrap=True)


if __name__ == '__main__':
    main()
