"""Writes a config with FishNet in place of the ResNet of another config, and says line by line what changed.

The config that is written is short and builds on the other one, which stays as it is. With --data, a detector reads
your images and annotations, which are found and checked as `fishnet-mmdet new` does.
"""

import argparse
from pathlib import Path

from mmengine.config import Config

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.base.outputs import check_output, writing
from fishnet_mmdet.preflight import Report, examine
from fishnet_mmdet.project.own_data import find_data
from fishnet_mmdet.project.port import parse_arch, port_config
from fishnet_mmdet.project.port.data import data_sets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.add_argument(
        'config', help='config with a ResNet: a path, or mmdet::FOLDER/NAME.py (also mmseg:: and mmpretrain::)'
    )
    parser.add_argument('--output', '--out', '-o', required=True, help='config file to write')
    parser.add_argument(
        '--arch',
        default='fishnet150',
        help="architecture: a name, or a dict such as \"{'base': 'fishnet150', 'width': 0.5}\" (default: %(default)s)",
    )
    parser.add_argument('--from-scratch', action='store_true', help='for training from random weights')
    parser.add_argument('--weights', help='pretrained weights, if not the released ones: a name, a file or an address')
    parser.add_argument(
        '--data', type=Path, metavar='DIR', help="folder of your images and annotations (default: the config's data)"
    )
    parser.add_argument('--train', type=Path, metavar='FILE', help='COCO file to train on (default: found by its name)')
    parser.add_argument('--val', type=Path, metavar='FILE', help='COCO file to validate on (default: likewise)')
    parser.add_argument('--overwrite', action='store_true', help='replace the config, and annotation files made for it')


def run(args: argparse.Namespace) -> int:
    """Ports, writes and prints; returns 1 if the data checks found errors."""
    output = Path(args.output)
    if output.suffix != '.py':
        raise ConfigError(f'--output {output} must end in .py')
    if output.exists() and not args.overwrite:
        raise ConfigError(f'{output} exists: give another --output, or --overwrite')
    check_output('--output', output)
    if (args.train or args.val) and not args.data:
        raise ConfigError('--train and --val need --data DIR, the folder of the images')
    port = port_config(args.config, parse_arch(args.arch), args.from_scratch, args.weights)
    if output.resolve() == port.base.path.resolve():
        raise ConfigError(f'--output {output} is the config itself: give another file')
    if args.data:
        # A config that cannot take data is refused before annotation files are written.
        data_sets(port.base.config)
        port = port.with_data(find_data(args.data, output, args.train, args.val, args.overwrite))
    with writing('--output', output):
        write_atomically(output, port.text(output.parent).encode())
    for line in port.lines():
        print(line)
    written = Config.fromfile(output)
    report = examine(written, ('train', 'val'), weights=False) if args.data else Report()
    if args.data:
        print(f'{report.text()}\n')
    print(f'written: {output}, on {port.base.name}. Next: {report.train_command(output)}')
    return int(bool(report.errors))
