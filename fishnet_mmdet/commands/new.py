"""Writes a config for your own data: from a folder of images and annotations to a file that trains.

COCO files of any name are found in the folder; without a validation file, a fifth of the images is held out.
Classes, image size, anchors, batch, learning rate and schedule follow from the data and this machine; each is printed
with its reason. YOLO and Pascal VOC folders are converted: pip install supervision.
"""

import argparse
from pathlib import Path

from fishnet_mmdet.project.new import new_config
from fishnet_mmdet.project.port import parse_arch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.add_argument('--data', type=Path, required=True, metavar='DIR', help='folder of images and annotations')
    parser.add_argument('--train', type=Path, metavar='FILE', help='COCO file to train on (default: found by its name)')
    parser.add_argument('--val', type=Path, metavar='FILE', help='COCO file to validate on (default: likewise)')
    parser.add_argument(
        '--arch',
        default='fishnet99',
        help="architecture: a name, or a dict such as \"{'base': 'fishnet99', 'width': 0.25}\" (default: %(default)s)",
    )
    parser.add_argument('--from-scratch', action='store_true', help='start from random weights, not from ImageNet')
    parser.add_argument('--epochs', type=int, metavar='N', help='length of the run (default: by the number of images)')
    parser.add_argument(
        '--out', '--output', '-o', type=Path, required=True, metavar='FILE', help='config file to write'
    )
    parser.add_argument('--overwrite', action='store_true', help='replace the config and the files of its split')


def run(args: argparse.Namespace) -> int:
    """Writes the config; returns 1 if the data checks found errors."""
    made = new_config(
        args.data,
        parse_arch(args.arch),
        args.out,
        train=args.train,
        val=args.val,
        from_scratch=args.from_scratch,
        epochs=args.epochs,
        overwrite=args.overwrite,
    )
    for choice in made.choices:
        print(choice)
    print(made.report.text())
    print(f'\nwritten: {made.path}. Next: {made.report.train_command(made.path)}')
    return int(bool(made.report.errors))
