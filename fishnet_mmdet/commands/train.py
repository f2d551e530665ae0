"""Trains a detector, classifier or segmentor, with MMDetection's own flags."""

import argparse

from fishnet_mmdet.training.launch import add_common_arguments, load_config, switch_on_fast_eval, train


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    add_common_arguments(parser)
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


def run(args: argparse.Namespace) -> None:
    """Trains."""
    cfg = load_config(args)
    if args.fast_eval:
        switch_on_fast_eval(cfg, 'val')
    train(cfg, args.amp, args.auto_scale_lr, args.resume, args.skip_bad)
