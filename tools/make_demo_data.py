#!/usr/bin/env python
"""Draws the demo data set in COCO's layout; does nothing where it is there already."""

import argparse
import sys

from fishnet_mmdet.data.demo import DemoSpec, make_demo_data


def main() -> None:
    """Parses the flags and draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', default='data/demo', help='folder to write (default: %(default)s)')
    parser.add_argument('--train', type=int, default=DemoSpec.train, help='training images (%(default)s)')
    parser.add_argument('--val', type=int, default=DemoSpec.val, help='validation images (%(default)s)')
    parser.add_argument('--side', type=int, default=DemoSpec.side, help='side in pixels (%(default)s)')
    parser.add_argument('--seed', type=int, default=DemoSpec.seed, help='seed (%(default)s)')
    args = parser.parse_args()
    spec = DemoSpec(train=args.train, val=args.val, side=args.side, seed=args.seed)
    try:
        drawn = make_demo_data(args.out, spec)
    except FileExistsError as error:
        sys.exit(f'error: {error}')
    print(f'demo data in {args.out}: {"drawn" if drawn else "already there"}')


if __name__ == '__main__':
    main()
