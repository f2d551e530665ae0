"""Checks the paper's claim about gradients on built networks: where the I-convs are, and which stages gradients reach.

The exit status is 1 if the claim does not hold for a FishNet: a weight is on the trunk of body or head (as with strided
convolutions), or a stage is not reached as claimed.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import track

from fishnet_mmdet.lab.figures.backbones import FigureError, build_backbone, read_backbone
from fishnet_mmdet.lab.figures.gradients import analyse, claim_fails, i_convs, parts, table
from fishnet_mmdet.lab.figures.training import Norms, TrainingPlan, gradient_norms, plot, save_plot


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.add_argument(
        'arch',
        nargs='*',
        default=['fishnet150', 'resnet50'],
        help='architectures (fishnet150), ResNets (resnet50) or config files (default: fishnet150 resnet50)',
    )
    parser.add_argument(
        '--plot', type=Path, metavar='OUT.png', help='train for a few steps and plot the gradient norms to this file'
    )
    for name, what in (
        ('steps', 'number of training steps'),
        ('batch', 'images in a batch'),
        ('side', 'side of the square images in pixels'),
        ('lr', 'learning rate'),
        ('seed', 'seed of weights and images'),
    ):
        default = getattr(TrainingPlan, name)
        parser.add_argument(
            f'--{name}', type=type(default), default=default, help=f'for --plot: {what} (default: %(default)s)'
        )


def run(args: argparse.Namespace) -> int:
    """Analyses, prints and plots; returns 1 if the claim does not hold."""
    plan = TrainingPlan(steps=args.steps, batch=args.batch, side=args.side, lr=args.lr, seed=args.seed)
    if args.plot:
        check_plot(args.plot)
    backbones = dict(read_backbone(what) for what in args.arch)
    held = [report(name, config) for name, config in backbones.items()]
    if args.plot:
        norms = {name: measure(name, config, plan) for name, config in backbones.items()}
        save_plot(plot(norms, plan), args.plot)
        print(args.plot)
    return 0 if all(held) else 1


def check_plot(out: Path) -> None:
    """Checks that the plot can be written, before minutes of work."""
    if out.suffix not in ('.png', '.svg', '.pdf'):
        raise FigureError(f'--plot {out}: the name must end in .png, .svg or .pdf')
    if not out.resolve().parent.is_dir():
        raise FigureError(f'--plot {out}: the folder {out.resolve().parent} does not exist; make it first')


def report(name: str, config: dict) -> bool:
    """Analyses a network and prints the result; returns whether the claim holds, True for a network without a head."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    with console.status(f'analysing {name}'):
        findings = analyse(build_backbone(config))
    console.print(table(name, findings))
    counts = {part: len(i_convs(group)) for part, group in parts(findings).items()}
    console.print('I-convs: ' + ', '.join(f'{part} {count}' for part, count in counts.items()))
    if 'head' not in counts:
        console.print()
        return True
    wrong = claim_fails(findings)
    for line in wrong:
        console.print(f'[red]does not hold[/]: {line}', highlight=False)
    if not wrong:
        console.print(
            'The claim holds: no weight on the trunk of body and head; gradients reach every stage of tail, body '
            'and head directly, but for what lies behind an I-conv.\n'
        )
    return not wrong


def measure(name: str, config: dict, plan: TrainingPlan) -> Norms:
    """Trains a network for the plot, with progress on screen."""
    progress = partial(track, description=f'training {name}')
    return gradient_norms(partial(build_backbone, config), plan, progress)
