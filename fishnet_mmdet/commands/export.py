"""Exports a trained backbone, with the config's neck, to ONNX.

The ONNX file takes normalized images of any size. The command runs it with onnxruntime at several sizes and prints how
far its output is from PyTorch's.
"""

import argparse
from pathlib import Path

from rich.console import Console

from fishnet_mmdet.deploy.export import TOLERANCE, check_target, difference_table, export, read_network
from fishnet_mmdet.training.launch.config import add_options_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.add_argument(
        'network',
        metavar='CONFIG',
        help='config file, name of a config that ships, or name of an architecture (fishnet150) for a backbone alone',
    )
    parser.add_argument(
        'checkpoint',
        metavar='CHECKPOINT',
        help='checkpoint of a training with this config; for an architecture, any file or name of FishNet weights',
    )
    parser.add_argument('out', type=Path, metavar='OUT.onnx', help='file to write')
    parser.add_argument('--backbone-only', action='store_true', help="leave out the config's neck")
    parser.add_argument(
        '--tolerance',
        type=float,
        default=TOLERANCE,
        help='largest difference between onnxruntime and PyTorch, as a share of the largest value (default: '
        '%(default)s)',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace OUT.onnx if it exists')
    add_options_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Exports."""
    check_target(args.out, args.overwrite)
    with Console(stderr=True).status('exporting'):
        network = read_network(args.network, args.checkpoint, args.cfg_options, args.backbone_only)
        differences = export(network, args.out, args.tolerance)
    Console().print(difference_table(differences))
    print(f'written: {args.out}')
