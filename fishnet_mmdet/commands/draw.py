"""Draws a FishNet architecture like the fish of the paper's figure 2, as SVG and PNG."""

import argparse
from pathlib import Path

from fishnet_mmdet.lab.figures.backbones import FigureError, read_arch
from fishnet_mmdet.lab.figures.fish import draw, save


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.add_argument('arch', help='architecture, such as fishnet150, or a config file with a FishNet backbone')
    parser.add_argument('--out', type=Path, help='files to write, without .svg and .png (default: name of ARCH)')


def run(args: argparse.Namespace) -> None:
    """Draws."""
    name, arch = read_arch(args.arch)
    out = args.out or Path(name)
    out = out.with_suffix('') if out.suffix in ('.svg', '.png') else out
    if not out.resolve().parent.is_dir():
        raise FigureError(f'--out {args.out}: the folder {out.resolve().parent} does not exist; make it first')
    for file in save(draw(arch, name), out):
        print(file)
