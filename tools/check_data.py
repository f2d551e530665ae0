#!/usr/bin/env python
"""Checks the data of a config, images and annotations of all splits, and prints one report: tools/check_data.py CONFIG."""

import argparse
import json
import sys
from pathlib import Path

from fishnet_mmdet.preflight import PreflightError, drop_bad, examine
from fishnet_mmdet.training.launch import add_common_arguments, load_config

SPLITS = ('train', 'val', 'test')


def main() -> None:
    """Parses the flags and checks; exits with status 1 where there are errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, such as configs/mask_rcnn_fishnet150_fpn.py')
    parser.add_argument('--splits', nargs='+', choices=SPLITS, default=SPLITS, help='(default: all of the config)')
    parser.add_argument('--no-images', action='store_true', help='leave the image files closed')
    parser.add_argument('--json', type=Path, help='.json file for the report, every finding in full')
    parser.add_argument('--shown', type=int, default=5, help='findings of a kind to print (default: %(default)s)')
    parser.add_argument(
        '--skip-bad',
        action='store_true',
        help='write training annotations without the bad ones to WORK_DIR/preflight, as tools/train.py --skip-bad would',
    )
    add_common_arguments(parser)
    args = parser.parse_args()
    try:
        cfg = load_config(args)
        if args.no_images:
            cfg.preflight = dict(cfg.get('preflight', {}), images=False)
        report = examine(cfg, args.splits, weights=False)
        print(report.text(args.shown))
        if args.json:
            args.json.write_text(json.dumps(report.as_json(), indent=1))
        if args.skip_bad:
            dropped = drop_bad(cfg, report)
            print(f'\nleft out {len(dropped)}: {Path(cfg.work_dir) / "preflight"}')
        elif report.errors:
            sys.exit(1)
    except (PreflightError, OSError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
