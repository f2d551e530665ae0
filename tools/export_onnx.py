#!/usr/bin/env python
"""Exports a trained backbone, with the config's neck, to ONNX: tools/export_onnx.py CONFIG CHECKPOINT OUT.onnx.

The file takes normalised images of any size. onnxruntime runs it at several, and what it is off by is printed.
"""

import argparse
import sys
from pathlib import Path

from mmengine.config import DictAction
from rich.console import Console

from fishnet_mmdet.deploy.export import (
    TOLERANCE,
    ExportError,
    check_target,
    difference_table,
    export,
    read_network,
)
from fishnet_mmdet.preflight import PreflightError
from fishnet_mmdet.weights.reading import WeightsError


def main() -> None:
    """Parses the flags and exports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', metavar='CONFIG', help='config file, or a layout (fishnet150) for the bare backbone')
    parser.add_argument(
        'checkpoint', help='checkpoint that training wrote; of a layout, any file or name of FishNet weights'
    )
    parser.add_argument('out', type=Path, metavar='OUT.onnx', help='file to write')
    parser.add_argument('--backbone-only', action='store_true', help="leave out the config's neck")
    parser.add_argument(
        '--tolerance',
        type=float,
        default=TOLERANCE,
        help='how far onnxruntime may be off, as a share of the largest value (default: %(default)s)',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace OUT.onnx if it is there')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='settings over those of the config, as key=value'
    )
    args = parser.parse_args()
    try:
        check_target(args.out, args.overwrite)
        with Console(stderr=True).status('exporting'):
            network = read_network(args.what, args.checkpoint, args.cfg_options, args.backbone_only)
            differences = export(network, args.out, args.tolerance)
    except (ExportError, PreflightError, WeightsError) as error:
        sys.exit(f'error: {error}')
    Console().print(difference_table(differences))
    print(f'written: {args.out}')


if __name__ == '__main__':
    main()
