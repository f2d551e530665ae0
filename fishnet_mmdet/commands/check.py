"""Checks data, weights and settings of a config and prints one report of everything that is wrong with them."""

import argparse
import json
from pathlib import Path

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.base.outputs import check_output, writing
from fishnet_mmdet.preflight import Report, drop_bad, examine
from fishnet_mmdet.training.launch import add_common_arguments, load_config

SPLITS = ('train', 'val', 'test')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    add_common_arguments(parser)
    parser.add_argument('--splits', nargs='+', choices=SPLITS, default=SPLITS, help='splits to check (default: all)')
    parser.add_argument('--no-images', action='store_true', help='do not open image files')
    parser.add_argument('--json', type=Path, help='.json file to write the whole report to')
    parser.add_argument('--shown', type=int, default=5, help='findings to print of each kind (default: %(default)s)')
    parser.add_argument(
        '--skip-bad',
        action='store_true',
        help='write training annotations without bad entries to WORK_DIR/preflight, as `train --skip-bad` does',
    )


def run(args: argparse.Namespace) -> int:
    """Checks; returns 1 if there are errors."""
    if args.json:
        check_output('--json', args.json)
    cfg = load_config(args)
    if args.no_images:
        cfg.preflight = dict(cfg.get('preflight') or {}, images=False)
    report = examine(cfg, args.splits, weights=True, download=False)
    print(report.text(args.shown))
    if args.json:
        write_report(report, args.json)
    if args.skip_bad:
        dropped = drop_bad(cfg, report)
        print(f'\nleft out {len(dropped)} entries: {Path(cfg.work_dir) / "preflight"}')
        return 0
    return int(bool(report.errors))


def write_report(report: Report, path: Path) -> None:
    """Writes a report as JSON.

    Raises:
        UserError: The file cannot be written.
    """
    with writing('--json', path):
        write_atomically(path, json.dumps(report.as_json(), indent=1).encode())
