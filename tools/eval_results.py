#!/usr/bin/env python
"""Evaluates a COCO results file against annotations, without a model: all twelve official figures."""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fishnet_mmdet.evaluation.coco_eval import evaluate, load_annotations, load_results
from fishnet_mmdet.evaluation.results_files import IOU_TYPES, ResultsError
from fishnet_mmdet.files.atomic import write_atomically


def main() -> None:
    """Parses the flags, evaluates, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('annotations', help='COCO annotation file')
    parser.add_argument('results', help='COCO results file: a list of detections')
    parser.add_argument('--iou-type', choices=IOU_TYPES, default='bbox', help='(default: %(default)s)')
    parser.add_argument('--out', type=Path, help='.json file for the figures, as fractions of 1')
    args = parser.parse_args()
    try:
        if args.out and args.out.is_dir():
            raise ResultsError(f'--out {args.out} is a folder: name a .json file')
        if args.out and not args.out.resolve().parent.is_dir():
            raise ResultsError(f'--out {args.out}: the folder {args.out.resolve().parent} does not exist')
        figures, per_class = evaluate(load_annotations(args.annotations), load_results(args.results), args.iou_type)
    except ResultsError as error:
        sys.exit(f'error: {error}')

    table = Table('figure', title=f'COCO {args.iou_type}, percent', title_justify='left')
    table.add_column('value', justify='right')
    for name, value in figures.items():
        table.add_row(name, '-' if value < 0 else f'{100 * value:.1f}')
    Console().print(table)
    if args.out:
        content = {'iou_type': args.iou_type, **figures, 'AP_by_class': per_class}
        try:
            write_atomically(args.out, json.dumps(content, indent=1).encode())
        except OSError as error:
            sys.exit(f'error: --out {args.out} cannot be written: {error.strerror}')


if __name__ == '__main__':
    main()
