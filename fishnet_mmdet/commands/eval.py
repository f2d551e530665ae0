"""Evaluates a COCO results file against annotations, without a model, and prints the twelve official figures."""

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.data.json_files import MAX_BYTES
from fishnet_mmdet.evaluation.coco_eval import evaluate, evaluator_class, load_annotations, load_results
from fishnet_mmdet.evaluation.results_files import IOU_TYPES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.add_argument('annotations', help='COCO annotation file')
    parser.add_argument('results', help='COCO results file: a list of detections')
    parser.add_argument(
        '--iou-type', choices=IOU_TYPES, default='bbox', help='what to compare: boxes or masks (default: %(default)s)'
    )
    parser.add_argument('--out', type=Path, help='.json file to write the figures to, as fractions of 1')
    parser.add_argument(
        '--fast-eval', action='store_true', help='compute with faster-coco-eval, in less time: same figures'
    )
    parser.add_argument(
        '--max-gib', type=float, default=MAX_BYTES / 2**30, help='largest file to read in GiB (default: %(default)g)'
    )


def run(args: argparse.Namespace) -> None:
    """Evaluates and prints."""
    if args.out:
        check_target(args.out)
    # A package that is missing is reported before large files are read.
    evaluator_class(args.fast_eval)
    limit = args.max_gib * 2**30
    truth, results = load_annotations(args.annotations, limit), load_results(args.results, limit)
    figures, per_class = evaluate(truth, results, args.iou_type, fast=args.fast_eval)
    table = Table('figure', title=f'COCO {args.iou_type}, percent', title_justify='left')
    table.add_column('value', justify='right')
    for name, value in figures.items():
        table.add_row(name, '-' if value < 0 else f'{100 * value:.1f}')
    Console().print(table)
    if args.out:
        write_figures({'iou_type': args.iou_type, **figures, 'AP_by_class': per_class}, args.out)


def check_target(path: Path) -> None:
    """Checks, before the evaluation, that a file can be written.

    Raises:
        UserError: The path is a folder, or its folder does not exist.
    """
    if path.is_dir():
        raise UserError(f'--out {path} is a folder: name a .json file')
    if not path.resolve().parent.is_dir():
        raise UserError(f'--out {path}: the folder {path.resolve().parent} does not exist')


def write_figures(figures: dict, path: Path) -> None:
    """Writes figures as JSON.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        write_atomically(path, json.dumps(figures, indent=1).encode())
    except OSError as error:
        raise UserError(f'--out {path} cannot be written: {error.strerror}') from error
