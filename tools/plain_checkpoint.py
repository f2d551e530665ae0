#!/usr/bin/env python
"""Makes a checkpoint of stock MMEngine one that `tools/train.py --resume` takes: tools/plain_checkpoint.py OLD NEW."""

import argparse
import sys

from fishnet_mmdet.training.checkpoints.legacy import convert
from fishnet_mmdet.weights.reading import WeightsError


def main() -> None:
    """Parses the arguments and converts; nothing in the old file is executed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', metavar='OLD', help='checkpoint that MMEngine wrote without PlainCheckpoints')
    parser.add_argument('target', metavar='NEW', help='file to write, ending in .pth')
    args = parser.parse_args()
    try:
        epoch, iteration, left_out = convert(args.source, args.target)
    except WeightsError as error:
        sys.exit(f'error: {error}')
    print(f'written: {args.target} (epoch {epoch}, iteration {iteration})')
    if left_out:
        print(f'left out, for lack of a plain form: {", ".join(left_out)}')


if __name__ == '__main__':
    main()
