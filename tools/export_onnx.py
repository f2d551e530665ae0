#!/usr/bin/env python
"""Exports backbone and neck to ONNX, for images of any size, and holds the file against torch at several sizes."""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fishnet_mmdet.arch import ARCHS
from fishnet_mmdet.export import TOLERANCE, ExportError, differences, export_onnx, features_of
from fishnet_mmdet.weights.files import WeightsError


def main() -> None:
    """Parses the flags, exports, checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'checkpoint', help='the weights: a checkpoint, any file of FishNet weights, or fishnet://NAME'
    )
    parser.add_argument('out', type=Path, help='.onnx file to write')
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument('--config', help="the detector's config, whose checkpoint it is")
    which.add_argument('--arch', choices=ARCHS, help='without a config: the backbone alone')
    parser.add_argument('--no-neck', action='store_true', help='of a config: the backbone alone')
    args = parser.parse_args()
    if args.out.suffix != '.onnx':
        parser.error(f'out {args.out}: the file must end in .onnx')
    if args.config and not Path(args.config).is_file():
        sys.exit(f'error: config file not found: {Path(args.config).resolve()}')
    console = Console()
    table = Table('images', title='onnxruntime against torch', title_justify='left')
    table.add_column('largest difference, relative', justify='right')
    worst = 0.0
    try:
        with console.status('exporting: a minute or two'):
            features = features_of(args.config, args.arch, args.checkpoint, not args.no_neck)
            export_onnx(features, args.out)
            for size, difference in differences(features, args.out):
                table.add_row(size, f'{difference:.1e}')
                worst = max(worst, difference)
    except (ExportError, WeightsError) as error:
        sys.exit(f'error: {error}')
    console.print(table)
    if not worst <= TOLERANCE:
        sys.exit(f'error: {args.out} differs by {worst:.1e}, more than {TOLERANCE:.0e}: do not use it')
    console.print(f'written: {args.out} ({args.out.stat().st_size / 1e6:.1f} MB)', soft_wrap=True)


if __name__ == '__main__':
    main()
