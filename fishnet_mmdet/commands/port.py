"""Writes a config with FishNet in place of the ResNet of another config, and says line by line what changed.

The config that is written is short and builds on the other one, which stays as it is.
"""

import argparse
from pathlib import Path

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.project.port import parse_arch, port_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.add_argument(
        'config', help='config with a ResNet: a path, or mmdet::FOLDER/NAME.py (also mmseg:: and mmpretrain::)'
    )
    parser.add_argument('--output', '-o', required=True, help='config file to write')
    parser.add_argument(
        '--arch',
        default='fishnet150',
        help="architecture: a name, or a dict such as \"{'base': 'fishnet150', 'width': 0.5}\" (default: %(default)s)",
    )
    parser.add_argument('--scratch', action='store_true', help='for training from random weights')
    parser.add_argument('--weights', help='pretrained weights, if not the released ones: a name, a file or an address')
    parser.add_argument('--overwrite', action='store_true', help='replace a file that exists')


def run(args: argparse.Namespace) -> None:
    """Ports, writes and prints."""
    output = Path(args.output)
    if output.suffix != '.py':
        raise ConfigError(f'--output {output} must end in .py')
    if output.exists() and not args.overwrite:
        raise ConfigError(f'{output} exists: give another --output, or --overwrite')
    port = port_config(args.config, parse_arch(args.arch), args.scratch, args.weights)
    if output.resolve() == port.base.path.resolve():
        raise ConfigError(f'--output {output} is the config itself: give another file')
    write_atomically(output, port.text(output.parent).encode())
    for line in port.lines():
        print(line)
    print(f'written: {output}, on {port.base.name}. Train: fishnet-mmdet train {output}')
