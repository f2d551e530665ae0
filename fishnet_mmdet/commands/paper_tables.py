"""Prints the tables of the paper: published figures, counts of the built networks, and your own runs beside them."""

import argparse
from pathlib import Path

from rich.console import Console

from fishnet_mmdet.base.tables import write_tables
from fishnet_mmdet.lab.paper.figure4 import draw_figure4
from fishnet_mmdet.lab.paper.metafile import metafile
from fishnet_mmdet.lab.paper.model_cards import imagenet_card
from fishnet_mmdet.lab.paper.network_page import NETWORK_TABLES
from fishnet_mmdet.lab.paper.own_runs import read_runs
from fishnet_mmdet.lab.paper.readme import results_markdown, variants_markdown
from fishnet_mmdet.lab.paper.tables import all_tables, check_arguments

MIN_WIDTH = 140
"""Columns of text below which numbers would be cut."""


def run(args: argparse.Namespace) -> None:
    """Prints the tables and writes them."""
    if args.readme:
        print(variants_markdown(), results_markdown(), sep='\n', end='')
        return
    if args.network:
        print(*(markdown() for markdown in NETWORK_TABLES.values()), sep='\n', end='')
        return
    if args.metafile:
        print(metafile(), end='')
        return
    if args.model_card:
        print(imagenet_card(), end='')
        return
    check_arguments(args.parts, args.out)
    tables = all_tables(read_runs(args.work_dirs), args.parts)
    console = Console(width=max(Console().width, MIN_WIDTH))
    for table in tables:
        console.print(table.on_screen(), '')
    if args.out:
        write_tables(tables, args.out)
        draw_figure4(args.out)
        console.print(f'written to {args.out}', soft_wrap=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.add_argument(
        '--work-dirs', nargs='+', type=Path, default=[], metavar='DIR',
        help='work directories of runs; their last figures are added to the tables',
    )  # fmt: skip
    parser.add_argument(
        '--parts', nargs='+', default=[], metavar='ARCH', help='architectures whose stages to list (fishnet150)'
    )
    parser.add_argument(
        '--out', type=Path, metavar='DIR', help='write the tables (.md, .json) and Figure 4 (.png, .svg) to this folder'
    )
    parser.add_argument('--readme', action='store_true', help='print only the two tables of README.md, as Markdown')
    parser.add_argument('--network', action='store_true', help='print only the tables of docs/network.md, as Markdown')
    parser.add_argument(
        '--metafile', action='store_true', help='print only configs/metafile.yml, for MIM and model hubs'
    )
    parser.add_argument(
        '--model-card', action='store_true', help='print only docs/model-cards/imagenet.md, about the released weights'
    )
