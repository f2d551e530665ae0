"""Downloads COCO 2017: images of train2017 and val2017, and annotations, to the folders that the configs expect.

A later call continues an interrupted one, and takes seconds if nothing is missing.
"""

import argparse
from pathlib import Path

from fishnet_mmdet.commands import INTERRUPTED
from fishnet_mmdet.data.coco_download import CocoDownload
from fishnet_mmdet.data.coco_files import MIRROR, PARTS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.add_argument('folder', type=Path, help='folder to write, such as data/coco')
    parser.add_argument('--only', nargs='+', choices=PARTS, default=list(PARTS), help='parts to get (default: all)')
    parser.add_argument('--keep-archives', action='store_true', help='keep the zip files, which need 20 GB')
    parser.add_argument('--mirror', metavar='URL', default=MIRROR, help='a copy of the server (default: %(default)s)')
    parser.add_argument('--any-space', action='store_true', help='download without a check of the free disk space')


def run(args: argparse.Namespace) -> int:
    """Downloads; returns 130, as a shell does, after Ctrl-C."""
    download = CocoDownload(args.folder, args.mirror, args.keep_archives, check_space=not args.any_space)
    try:
        download.get([PARTS[name] for name in PARTS if name in args.only])
    except KeyboardInterrupt:
        print('stopped: the same command continues')
        return INTERRUPTED
    print(f'use it: COCO_ROOT={args.folder} fishnet-mmdet train CONFIG')
    return 0
