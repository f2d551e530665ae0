"""Trains a small detector from random weights over warm-ups and learning rates, and prints which runs diverge.

Outcomes are kept in a file as they come; the same command continues where it was stopped.
"""

import argparse
from itertools import product
from pathlib import Path

from rich.console import Console
from rich.progress import track

from fishnet_mmdet.lab.stability import NETWORKS, Cell, table, train_grid


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.add_argument('--networks', nargs='+', choices=NETWORKS, default=list(NETWORKS), help='default: all')
    parser.add_argument('--warm-ups', nargs='+', type=int, metavar='N', default=[0, 12, 100, 500])
    parser.add_argument('--rates', nargs='+', type=float, metavar='LR', default=[0.005, 0.02, 0.05])
    parser.add_argument('--seeds', nargs='+', type=int, metavar='N', default=[0])
    parser.add_argument('--iterations', type=int, metavar='N', default=200, help='length of each run (default: 200)')
    parser.add_argument('--out', type=Path, metavar='FILE', default=Path('work_dirs/stability.json'))


def run(args: argparse.Namespace) -> None:
    """Trains."""
    grid = product(args.networks, args.warm_ups, args.rates, args.seeds)
    cells = [
        Cell(network=network, warm_up=warm_up, rate=rate, seed=seed, iterations=args.iterations)
        for network, warm_up, rate, seed in grid
    ]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    print(table(train_grid(cells, args.out, lambda runs: track(runs, 'runs', console=Console(stderr=True)))))
