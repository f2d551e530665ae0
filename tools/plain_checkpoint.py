#!/usr/bin/env python
"""Rewrites a checkpoint of stock MMEngine for `tools/train.py --resume`: tools/plain_checkpoint.py OLD NEW.

Nothing in the old checkpoint is executed.
"""

import argparse

from fishnet_mmdet.base.errors import one_line_errors
from fishnet_mmdet.training.checkpoints.legacy import convert


def main() -> None:
    """Parses the arguments and converts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', metavar='OLD', help='checkpoint that MMEngine wrote without PlainCheckpoints')
    parser.add_argument('target', metavar='NEW', help='file to write, ending in .pth; it must not exist')
    args = parser.parse_args()
    with one_line_errors():
        epoch, iteration, left_out = convert(args.source, args.target)
    print(f'written: {args.target} (epoch {epoch}, iteration {iteration})')
    if left_out:
        print(f'left out because they have no plain form: {", ".join(left_out)}')


if __name__ == '__main__':
    main()
