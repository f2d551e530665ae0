"""Converts the nuclei of the 2018 Data Science Bowl to COCO's format, divided as for the figures of this project."""

import argparse
from pathlib import Path

from fishnet_mmdet.data.nuclei import SOURCE, convert_nuclei


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.add_argument('source', type=Path, help=f'clone of {SOURCE}, 72 MB')
    parser.add_argument('--out', type=Path, default=Path('data/nuclei'), help='folder to write (default: %(default)s)')


def run(args: argparse.Namespace) -> None:
    """Converts."""
    for name, part in convert_nuclei(args.source, args.out).items():
        other = '' if part.is_known else '; the masks differ from those of the figures in docs/results.md'
        print(f'{args.out / name}: {part.images} pictures, {part.nuclei:,} nuclei{other}')
    print(f'use it: NUCLEI_ROOT={args.out} fishnet-mmdet train mask_rcnn_fishnet_small_nuclei')
