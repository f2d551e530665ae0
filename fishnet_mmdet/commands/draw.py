"""Draws a FishNet architecture like the fish of the paper's figure 2, or one of its stages, as SVG and PNG."""

import argparse
from pathlib import Path

from fishnet_mmdet.lab.figures.backbones import FigureError, read_arch
from fishnet_mmdet.lab.figures.canvas import save
from fishnet_mmdet.lab.figures.fish import draw
from fishnet_mmdet.lab.figures.stage import draw_stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.add_argument('arch', help='architecture, such as fishnet150, or a config file with a FishNet backbone')
    parser.add_argument('--stage', help='stage to draw from the inside, such as "body 2"')
    parser.add_argument('--out', type=Path, help='files to write, without .svg and .png (default: name of ARCH)')


def run(args: argparse.Namespace) -> None:
    """Draws."""
    name, arch = read_arch(args.arch)
    out = args.out or Path(f'{name}-{args.stage.replace(" ", "-")}' if args.stage else name)
    out = out.with_suffix('') if out.suffix in ('.svg', '.png') else out
    if not out.resolve().parent.is_dir():
        raise FigureError(f'--out {args.out}: the folder {out.resolve().parent} does not exist; make it first')
    for file in save(draw_stage(arch, name, args.stage) if args.stage else draw(arch, name), out):
        print(file)
