"""Finds objects on pictures, folders, videos or a camera; writes COCO results and drawn pictures.

Exit status: 0, all inputs are in the results; 1, an error; 3, some inputs were passed over; 130, stopped by Ctrl-C, and
the results hold what was done until then.
"""

import argparse
import math
import os
from collections.abc import Mapping
from pathlib import Path

from fishnet_mmdet.base.startup import keep_freed_memory
from fishnet_mmdet.commands import INTERRUPTED
from fishnet_mmdet.deploy.infer.inputs import find_inputs
from fishnet_mmdet.deploy.infer.outputs import PICTURE_FOLDER, check_out
from fishnet_mmdet.deploy.infer.predictor import Predictor
from fishnet_mmdet.deploy.infer.results import IMAGES, RESULTS
from fishnet_mmdet.deploy.infer.run import Outcome, predict_files
from fishnet_mmdet.deploy.inference import FORMS
from fishnet_mmdet.training.launch.config import add_options_argument
from fishnet_mmdet.weights.catalogue import SCHEME
from fishnet_mmdet.weights.shipped import SHIPPED

PASSED_OVER = 3
"""Exit status where some inputs were passed over."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    shipped = ', '.join(f'{detector.config} {SCHEME}{name}' for name, detector in SHIPPED.items())
    parser.epilog = f'config and weights of a detector that ships: {shipped}'
    parser.add_argument('config', help='config file, or the name of a config that ships')
    parser.add_argument(
        'weights', help='checkpoint or .safetensors file of a detector, its https address, or a name (below)'
    )
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='input',
        help='picture or video, folder (with all folders in it), pattern such as "a/**/*.jpg", or number of a camera',
    )
    parser.add_argument('--out', required=True, help='folder to write: results.json, images.json, pictures/')
    parser.add_argument('--annotations', help='COCO annotation file whose image and category ids the results get')
    parser.add_argument('--batch', type=int, default=1, help='images in a batch (default: %(default)s)')
    parser.add_argument(
        '--threshold',
        type=float,
        default=0.3,
        help='smallest score that is drawn; the results hold all that the model gives (default: %(default)s)',
    )
    parser.add_argument('--device', help='such as cuda:1 or cpu (default: the first GPU, if there is one)')
    parser.add_argument(
        '--optimize',
        choices=FORMS,
        help='use the inference form: backbone and neck in this number format, or computed by OpenVINO (CPU)',
    )
    parser.add_argument('--no-pictures', action='store_true', help='draw nothing')
    parser.add_argument('--overwrite', action='store_true', help='replace files of an earlier run')
    add_options_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Predicts and says what was written."""
    check_out(Path(args.out), args.overwrite)
    inputs = find_inputs(args.inputs, args.out)
    predictor = Predictor(args.config, args.weights, args.device, args.optimize, args.cfg_options)
    if predictor.device.type == 'cpu':
        keep_freed_memory(os.environ)
    outcome = predict_files(
        predictor,
        inputs,
        args.out,
        annotations=args.annotations,
        batch=args.batch,
        threshold=args.threshold,
        pictures=not args.no_pictures,
        overwrite=args.overwrite,
    )
    _report(outcome, Path(args.out), args, predictor.score_thresholds)
    if outcome.is_stopped:
        return INTERRUPTED
    return PASSED_OVER if outcome.passed_over else 0


def _report(outcome: Outcome, out: Path, args: argparse.Namespace, thresholds: Mapping[str, float]) -> None:
    print(f'{outcome.images} images, {outcome.objects} objects: {out / RESULTS}; images by id: {out / IMAGES}')
    if outcome.images and not outcome.objects and thresholds:
        lower = ' '.join(f'{key}=0' for key in thresholds)
        limits = ' and '.join(f'{key}={value:g}' for key, value in thresholds.items())
        print(f'the config leaves out lower scores than {limits}; to see them: --cfg-options {lower}')
    if not args.no_pictures:
        print(f'drawn, from score {args.threshold:g} on: {out / PICTURE_FOLDER}')
        if 0 < outcome.best < args.threshold:
            lower = math.floor(outcome.best * 100) / 100
            print(f'no object has this score; the best one has {outcome.best:.3f}: --threshold {lower:g} draws it')
    if outcome.passed_over:
        print(f'{len(outcome.passed_over)} inputs passed over (listed above and in {out / IMAGES})')
    if outcome.unused:
        print(
            f'{outcome.unused} images of {args.annotations} were not among the inputs; `eval` counts their objects as '
            'missed'
        )
    if outcome.is_stopped:
        print('stopped early by Ctrl-C')
