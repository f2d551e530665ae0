"""Draws a demo data set in COCO's format, or of image classes (--classes), unless it is there already."""

import argparse

from fishnet_mmdet.lab.demo_data.demo import ClassesSpec, DemoSpec, make_demo_classes, make_demo_data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.add_argument('--classes', action='store_true', help='draw a classification set')
    parser.add_argument('--out', help='folder to write (default: data/demo, or data/demo_classes with --classes)')
    for name, what in (
        ('train', 'number of training images'),
        ('val', 'number of validation images'),
        ('side', 'side of the square images in pixels'),
    ):
        both = f'{getattr(DemoSpec, name)}, or {getattr(ClassesSpec, name)} with --classes'
        parser.add_argument(f'--{name}', type=int, metavar='N', help=f'{what} (default: {both})')
    parser.add_argument('--seed', type=int, metavar='N', help='seed of all drawings (default: 0)')


def run(args: argparse.Namespace) -> None:
    """Draws."""
    given = {k: v for k, v in vars(args).items() if k not in ('classes', 'out') and v is not None}
    out = args.out or ('data/demo_classes' if args.classes else 'data/demo')
    if args.classes:
        drawn = make_demo_classes(out, ClassesSpec(**given))
    else:
        drawn = make_demo_data(out, DemoSpec(**given))
    print(f'demo data in {out}: {"drawn" if drawn else "already there"}')
