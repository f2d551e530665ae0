"""Converts FishNet weights of any known key naming to that of this project."""

import argparse

from fishnet_mmdet.base.hashes import file_hash
from fishnet_mmdet.weights.catalogue import CATALOGUE
from fishnet_mmdet.weights.convert import convert_weights
from fishnet_mmdet.weights.shipped import SHIPPED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.epilog = f'names: {", ".join([*CATALOGUE, *SHIPPED])}'
    parser.add_argument(
        'source',
        metavar='SRC',
        help="fishnet://NAME, an https address, or a file: the authors' .tar, pytorchcv's .pth or .zip, a checkpoint "
        'of this project, safetensors',
    )
    parser.add_argument('target', metavar='DST', help='file to write, .safetensors or .pth')
    parser.add_argument(
        '--take',
        choices=['average', 'live'],
        help='which weights to take from a checkpoint that holds averaged (EMA) and live ones; by default those in its '
        'state_dict, which MMEngine fills with the average',
    )
    parser.add_argument(
        '--whole', action='store_true', help='write neck and heads of a detector too, not only its backbone'
    )
    parser.add_argument('--half', action='store_true', help='write float16: half of the size, nearly the same weights')
    parser.add_argument('--licence', metavar='TEXT', help='licence of the weights, for the metadata of DST')
    parser.add_argument(
        '--hash-in-name', action='store_true', help="put the first digits of the file's SHA-256 before its ending"
    )
    parser.add_argument('--overwrite', action='store_true', help='replace DST if it exists')


def run(args: argparse.Namespace) -> None:
    """Converts."""
    path, summary = convert_weights(
        args.source,
        args.target,
        take=args.take,
        whole=args.whole,
        half=args.half,
        licence=args.licence,
        hash_in_name=args.hash_in_name,
        overwrite=args.overwrite,
    )
    print(f'{summary}\nwritten: {path} (sha256:{file_hash(path)})')
