"""Evaluates a COCO results file against annotations, without a model, and prints the twelve official figures."""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.base.errors import UsageError, UserError
from fishnet_mmdet.base.outputs import check_output, writing
from fishnet_mmdet.data.json_files import MAX_BYTES
from fishnet_mmdet.evaluation.class_plot import draw_classes
from fishnet_mmdet.evaluation.class_rows import ClassRow, best_first, class_table, or_none
from fishnet_mmdet.evaluation.coco_eval import (
    ClassResult,
    evaluate,
    evaluator_class,
    load_annotations,
    load_results,
)
from fishnet_mmdet.evaluation.coco_names import CLASS_FIGURES
from fishnet_mmdet.evaluation.results_files import IOU_TYPES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.add_argument('annotations', help='COCO annotation file')
    parser.add_argument('results', help='COCO results file: a list of detections')
    parser.add_argument(
        '--iou-type', choices=IOU_TYPES, default='bbox', help='what to compare: boxes or masks (default: %(default)s)'
    )
    parser.add_argument('--out', type=Path, help='.json file to write the figures to, as fractions of 1')
    parser.add_argument('--classwise', action='store_true', help='print the figures of each class too, best first')
    parser.add_argument('--plot', type=Path, help='.png file for a bar plot of the AP of each class')
    parser.add_argument(
        '--fast-eval', action='store_true', help='compute with faster-coco-eval, in less time: same figures'
    )
    parser.add_argument(
        '--max-gib', type=float, default=MAX_BYTES / 2**30, help='largest file to read in GiB (default: %(default)g)'
    )


def run(args: argparse.Namespace) -> None:
    """Evaluates and prints."""
    if args.plot and args.plot.suffix != '.png':
        raise UsageError(f'--plot {args.plot} must end in .png')
    for flag in ('out', 'plot'):
        if getattr(args, flag):
            check_output(f'--{flag}', getattr(args, flag))
    # A package that is missing is reported before large files are read.
    evaluator_class(args.fast_eval)
    limit = args.max_gib * 2**30
    truth, results = load_annotations(args.annotations, limit), load_results(args.results, limit)
    figures, classes = evaluate(truth, results, args.iou_type, fast=args.fast_eval)
    table = Table('figure', title=f'COCO {args.iou_type}, percent', title_justify='left')
    table.add_column('value', justify='right')
    for name, value in figures.items():
        table.add_row(name, '-' if math.isnan(value) else f'{100 * value:.1f}')
    Console().print(table)
    if args.classwise:
        title = f'COCO {args.iou_type} by class, percent'
        Console().print(class_table(class_rows(classes, CLASS_FIGURES), title).on_screen())
    if args.out:
        by_class = {name: or_none(result.figures['AP']) for name, result in classes.items()}
        numbers = {name: or_none(value) for name, value in figures.items()}
        write_figures({'iou_type': args.iou_type, **numbers, 'AP_by_class': by_class}, args.out)
    if args.plot and not classes:
        raise UserError(f'--plot: {args.annotations} has no categories, so there is nothing to draw')
    if args.plot:
        with writing('--plot', args.plot):
            args.plot.parent.mkdir(parents=True, exist_ok=True)
            draw_classes(class_rows(classes, ['AP']), f'{args.iou_type} AP of {args.results}', args.plot)


def class_rows(classes: Mapping[str, ClassResult], names: Sequence[str]) -> list[ClassRow]:
    """Some figures of all classes, best first."""
    return best_first(
        ClassRow(name, result.objects, {figure: or_none(result.figures[figure]) for figure in names})
        for name, result in classes.items()
    )


def write_figures(figures: dict, path: Path) -> None:
    """Writes figures as JSON.

    Raises:
        UserError: The file cannot be written.
    """
    with writing('--out', path):
        write_atomically(path, json.dumps(figures, indent=1).encode())
