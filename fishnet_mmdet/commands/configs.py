"""Lists the configs that ship, with one line each; --copy writes one out, with the files that it names."""

import argparse
from pathlib import Path

from fishnet_mmdet.base.config_files import config_folder, config_names, copy_config, first_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.add_argument('--copy', metavar='NAME', help='config, or experiment such as experiments/nuclei, to write out')
    parser.add_argument(
        '--out', type=Path, default=Path('configs'), metavar='DIR', help='folder for the copy (default: %(default)s)'
    )


def run(args: argparse.Namespace) -> None:
    """Lists, or copies."""
    if args.copy:
        for path in copy_config(args.copy, args.out):
            print(path)
        return
    width = max(map(len, config_names()))
    for name in config_names():
        print(f'{name:<{width}}  {first_line(config_folder() / f"{name}.py")}')
