"""Tests a model and prints its AP, accuracy, IoU or PQ, with MMDetection's own flags."""

import argparse
import os

from mmengine.device import get_device

from fishnet_mmdet.base.errors import UsageError
from fishnet_mmdet.base.startup import keep_freed_memory, keep_imports
from fishnet_mmdet.deploy.inference import FORMS, TestOptimized
from fishnet_mmdet.training.launch import (
    add_common_arguments,
    add_console_argument,
    load_config,
    switch_on_fast_eval,
    test,
)
from fishnet_mmdet.training.launch.classwise import switch_on_classwise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    add_common_arguments(parser)
    add_console_argument(parser)
    parser.add_argument('checkpoint', help='checkpoint that training wrote')
    parser.add_argument('--out', help='.pkl file for the raw predictions')
    parser.add_argument('--classwise', action='store_true', help='the AP of each class too, as a table and a picture')
    parser.add_argument('--show', action='store_true', help='show predictions in windows')
    parser.add_argument(
        '--show-dir',
        help='folder for pictures of predictions beside annotations, below WORK_DIR/TIMESTAMP (segmentors: WORK_DIR)',
    )
    parser.add_argument('--wait-time', type=float, default=2, help='seconds that each window stays')
    parser.add_argument(
        '--optimize',
        choices=FORMS,
        help='test the inference form: backbone and neck in this number format, or computed by OpenVINO (CPU)',
    )
    parser.add_argument('--compile', action='store_true', help='with --optimize: compile the backbone too')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    parser.add_argument('--fast-eval', action='store_true', help='compute COCO AP with faster-coco-eval: same figures')


def run(args: argparse.Namespace) -> None:
    """Tests."""
    if args.compile and not args.optimize:
        raise UsageError('--compile needs --optimize')
    if args.compile and FORMS[args.optimize].get('runtime'):
        raise UsageError('--compile is for torch, OpenVINO compiles by itself: leave it out')
    form = TestOptimized(args.optimize, args.compile) if args.optimize else None
    cfg = load_config(args)
    if args.fast_eval:
        switch_on_fast_eval(cfg, 'test')
    if args.classwise:
        switch_on_classwise(cfg)
    keep_imports()
    if get_device() == 'cpu':
        keep_freed_memory(os.environ)
    test(
        cfg,
        args.checkpoint,
        out=args.out,
        show_dir=args.show_dir,
        show=args.show,
        wait_time=args.wait_time,
        tta=args.tta,
        form=form,
        console=args.console,
    )
