#!/usr/bin/env python
"""Trains a detector, classifier or segmentor: tools/train.py CONFIG, with MMDetection's own flags."""

import argparse
import sys

from fishnet_mmdet.evaluation.results_files import ResultsError
from fishnet_mmdet.preflight import PreflightError
from fishnet_mmdet.training.checkpoints.resume import CheckpointError
from fishnet_mmdet.training.launch import add_common_arguments, load_config, train
from fishnet_mmdet.weights.reading import WeightsError


def main() -> None:
    """Parses the flags and trains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, such as configs/mask_rcnn_fishnet150_fpn.py')
    parser.add_argument('--amp', action='store_true', help='train in mixed precision')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate from auto_scale_lr.base_batch_size to the real batch',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='go on from a checkpoint; without a value from the newest one in the work dir that can be read',
    )
    parser.add_argument(
        '--skip-bad',
        action='store_true',
        help='train without bad images and annotations, listed in WORK_DIR/preflight, instead of stopping',
    )
    add_common_arguments(parser)
    args = parser.parse_args()
    try:
        train(load_config(args), args.amp, args.auto_scale_lr, args.resume, args.skip_bad)
    except (CheckpointError, PreflightError, ResultsError, WeightsError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
