"""Rewrites a checkpoint of stock MMEngine so that `train --resume` and torch.load read it.

Nothing in the old checkpoint is executed.
"""

import argparse

from fishnet_mmdet.training.checkpoints.legacy import convert


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument('source', metavar='OLD', help='checkpoint that MMEngine wrote without PlainCheckpoints')
    parser.add_argument('target', metavar='NEW', help='file to write, ending in .pth; it must not exist')


def run(args: argparse.Namespace) -> None:
    """Converts."""
    epoch, iteration, left_out = convert(args.source, args.target)
    print(f'written: {args.target} (epoch {epoch}, iteration {iteration})')
    if left_out:
        print(f'left out because they have no plain form: {", ".join(left_out)}')
