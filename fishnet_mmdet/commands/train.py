"""Trains a detector, classifier or segmentor, with MMDetection's own flags."""

import argparse
import os

from mmengine.device import get_device

from fishnet_mmdet.base.startup import keep_freed_memory, keep_imports
from fishnet_mmdet.training.launch import (
    add_common_arguments,
    add_console_argument,
    load_config,
    switch_on_fast_eval,
    train,
)
from fishnet_mmdet.training.launch.switches import switch_on_backends, switch_on_val_pictures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    add_common_arguments(parser)
    add_console_argument(parser)
    parser.add_argument('--amp', action='store_true', help='train in mixed precision')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate from auto_scale_lr.base_batch_size to the real batch size',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='continue from a checkpoint; without a value, from the newest one in the work dir that can be read',
    )
    parser.add_argument(
        '--skip-bad',
        action='store_true',
        help='train without bad images and annotations instead of stopping; they are listed in WORK_DIR/preflight',
    )
    parser.add_argument('--fast-eval', action='store_true', help='validate COCO AP with faster-coco-eval: same figures')
    parser.add_argument('--tensorboard', action='store_true', help='write events for TensorBoard too')
    parser.add_argument('--wandb', action='store_true', help='log to Weights & Biases too (WANDB_MODE=offline works)')
    parser.add_argument(
        '--draw-val',
        type=int,
        metavar='N',
        help='draw predictions beside annotations, for the first image of every N-th batch of each validation '
        '(classifiers: for every N-th image)',
    )


def run(args: argparse.Namespace) -> None:
    """Trains."""
    cfg = load_config(args)
    if args.fast_eval:
        switch_on_fast_eval(cfg, 'val')
    switch_on_backends(cfg, args.tensorboard, args.wandb)
    if args.draw_val is not None:
        switch_on_val_pictures(cfg, args.draw_val)
    keep_imports()
    if get_device() == 'cpu':
        keep_freed_memory(os.environ)
    train(
        cfg,
        amp=args.amp,
        auto_scale_lr=args.auto_scale_lr,
        resume=args.resume,
        skip_bad=args.skip_bad,
        console=args.console,
    )
