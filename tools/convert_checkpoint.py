#!/usr/bin/env python
"""Converts any FishNet weights to our own layout: tools/convert_checkpoint.py SRC DST."""

import argparse
import sys

from fishnet_mmdet.weights.catalogue import CATALOGUE
from fishnet_mmdet.weights.convert import convert
from fishnet_mmdet.weights.reading import WeightsError, file_hash


def main() -> None:
    """Parses the flags and converts."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=f'names: {", ".join(CATALOGUE)}')
    parser.add_argument(
        'source',
        metavar='SRC',
        help="fishnet://NAME, an https address, or a file: the authors' .tar, pytorchcv's .pth or .zip, a checkpoint of "
        'this project, safetensors',
    )
    parser.add_argument('target', metavar='DST', help='file to write, .safetensors or .pth')
    parser.add_argument(
        '--take',
        choices=['average', 'live'],
        help='of a checkpoint with averaged (EMA) and live weights, which; by default what its state_dict holds, which '
        "is the average in MMEngine's",
    )
    parser.add_argument('--hash-in-name', action='store_true', help="put the file's hash before its ending")
    parser.add_argument('--overwrite', action='store_true', help='replace DST if it is there')
    args = parser.parse_args()
    try:
        path, summary = convert(args.source, args.target, args.take, args.hash_in_name, args.overwrite)
    except WeightsError as error:
        sys.exit(f'error: {error}')
    print(f'{summary}\nwritten: {path} (sha256:{file_hash(path)})')


if __name__ == '__main__':
    main()
