"""Times pycocotools beside faster-coco-eval on drawn results of the size of COCO val2017.

`python -m fishnet_mmdet.lab.evaluators`. Exit status 1 if their figures differ.
"""

import argparse
import sys
import time
from collections.abc import Iterator

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from rich.progress import track

from fishnet_mmdet.base.errors import one_line_errors
from fishnet_mmdet.evaluation.coco_eval import evaluate, evaluator_class
from fishnet_mmdet.evaluation.results_files import IOU_TYPES, indexed
from fishnet_mmdet.lab.machine import describe, sentence

CLASSES = 80
WIDTH, HEIGHT = 640, 480
CORNERS = 12
CROWD_ODDS = 0.012
MISSED, FALSE = 0.15, 0.4
"""Odds that an object is missed, and that a detection belongs to no object."""

TOLERANCE = 1e-9


def draw_annotations(images: int, objects: int, seed: int) -> COCO:
    """Draws annotations: polygons around random centres, from small to large, a few of them crowds.

    Args:
        images: Number of images.
        objects: Number of objects.
        seed: Everything follows from it.
    """
    rng = np.random.default_rng(seed)
    annotations = []
    for number in track(range(1, objects + 1), 'objects', disable=not sys.stderr.isatty()):
        polygon = _polygon(rng.uniform((0, 0), (WIDTH, HEIGHT)), np.exp(rng.uniform(1.5, 5.3)), rng)
        mask = _encoded(polygon)
        annotations.append(
            {
                'id': number,
                'image_id': int(rng.integers(1, images + 1)),
                'category_id': int(rng.integers(1, CLASSES + 1)),
                'bbox': coco_mask.toBbox(mask).tolist(),
                'area': float(coco_mask.area(mask)),
                'iscrowd': int(rng.random() < CROWD_ODDS),
                'segmentation': [polygon],
            }
        )
    sizes = dict(width=WIDTH, height=HEIGHT)
    return indexed(
        {
            'info': {},
            'images': [{'id': number, 'file_name': f'{number}.jpg', **sizes} for number in range(1, images + 1)],
            'categories': [{'id': number, 'name': f'class {number}'} for number in range(1, CLASSES + 1)],
            'annotations': annotations,
        }
    )


def draw_results(truth: COCO, detections: int, iou_type: str, seed: int) -> list[dict]:
    """Draws detections, the same number on every image: near its objects, some of a wrong class, some of nothing.

    Args:
        truth: Drawn annotations.
        detections: Number of detections in all.
        iou_type: 'bbox' or 'segm'.
        seed: Everything follows from it.
    """
    rng = np.random.default_rng(seed)
    each, more = divmod(detections, len(truth.imgs))
    rows = []
    for number, image in enumerate(track(truth.imgs, 'detections', disable=not sys.stderr.isatty())):
        found = [a for a in truth.imgToAnns[image] if rng.random() > MISSED]
        for category, shape in _shapes(found, each + (number < more), rng):
            row = {'image_id': image, 'category_id': category, 'score': float(rng.random())}
            if iou_type == 'bbox':
                (x0, y0), (x1, y1) = shape.min(0), shape.max(0)
                row['bbox'] = [float(v) for v in (x0, y0, x1 - x0, y1 - y0)]
            else:
                mask = _encoded(shape.ravel().tolist())
                row['segmentation'] = {'size': mask['size'], 'counts': mask['counts'].decode()}
            rows.append(row)
    return rows


def _shapes(found: list[dict], count: int, rng: np.random.Generator) -> Iterator[tuple[int, np.ndarray]]:
    """Class and corners (n, 2) of each detection of an image."""
    for _ in range(count):
        if not found or rng.random() < FALSE:
            polygon = _polygon(rng.uniform((0, 0), (WIDTH, HEIGHT)), np.exp(rng.uniform(1.5, 5.3)), rng)
            yield int(rng.integers(1, CLASSES + 1)), np.reshape(polygon, (-1, 2))
            continue
        true = found[rng.integers(len(found))]
        corners = np.reshape(true['segmentation'][0], (-1, 2))
        shift = rng.normal(0, 0.08, 2) * np.ptp(corners, axis=0)
        category = true['category_id'] if rng.random() < 0.8 else int(rng.integers(1, CLASSES + 1))
        yield category, np.clip(corners + shift, 0, (WIDTH, HEIGHT))


def _polygon(centre: np.ndarray, radius: float, rng: np.random.Generator) -> list[float]:
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    lengths = radius * rng.uniform(0.7, 1, CORNERS)
    corners = centre + lengths[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # At least a pixel wide and high, also at the edge of the image.
    low = np.minimum(corners.min(0), np.array((WIDTH, HEIGHT)) - 4)
    return np.clip(corners, 0, (WIDTH, HEIGHT)).clip(low, None).round(2).ravel().tolist()


def _encoded(polygon: list[float]) -> dict:
    return coco_mask.merge(coco_mask.frPyObjects([polygon], HEIGHT, WIDTH))


def measure(truth: COCO, rows: list[dict], iou_type: str, rounds: int) -> tuple[dict[str, list[float]], float]:
    """Times both evaluators in turns.

    Args:
        truth: The annotations.
        rows: The results.
        iou_type: 'bbox' or 'segm'.
        rounds: How often each evaluates.

    Returns:
        Seconds of every round by evaluator, and the largest difference of a figure, of all or of a class.
    """
    seconds: dict[str, list[float]] = {'pycocotools': [], 'faster-coco-eval': []}
    values = {}
    for _ in range(rounds):
        for name, times in seconds.items():
            start = time.perf_counter()
            figures, per_class = evaluate(truth, rows, iou_type, fast=name != 'pycocotools')
            times.append(time.perf_counter() - start)
            by_class = [value for result in per_class.values() for value in result.figures.values()]
            values[name] = np.array([*figures.values(), *by_class])
            print(f'{iou_type}  {name:<17} {times[-1]:7.1f} s   AP {100 * figures["AP"]:.2f}', flush=True)
    slow, fast = values.values()
    # Without objects both are NaN. NaN of one alone is a difference.
    equal = (slow == fast) | (np.isnan(slow) & np.isnan(fast))
    return seconds, float(np.where(equal, 0, np.nan_to_num(np.abs(slow - fast), nan=np.inf)).max())


def main() -> int:
    """Draws, times and compares; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--iou-types', nargs='+', choices=IOU_TYPES, default=list(IOU_TYPES), help='default: both')
    parser.add_argument('--images', type=int, default=5000, help='default: %(default)s')
    parser.add_argument('--objects', type=int, default=36_000, help='default: %(default)s')
    parser.add_argument('--detections', type=int, default=500_000, help='default: %(default)s')
    parser.add_argument('--rounds', type=int, default=3, help='evaluations of each, in turns (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    evaluator_class(fast=True)
    print(sentence(describe('cpu')))
    truth = draw_annotations(args.images, args.objects, args.seed)
    equal = True
    for iou_type in args.iou_types:
        rows = draw_results(truth, args.detections, iou_type, args.seed)
        seconds, difference = measure(truth, rows, iou_type, args.rounds)
        slow, fast = (float(np.median(times)) for times in seconds.values())
        print(
            f'{iou_type}: {len(truth.anns):,} objects, {len(rows):,} detections, medians of {args.rounds}: pycocotools '
            f'{slow:.1f} s, faster-coco-eval {fast:.1f} s ({slow / fast:.1f}x); largest difference {difference:.1e}'
        )
        equal &= difference <= TOLERANCE
    return 0 if equal else 1


if __name__ == '__main__':
    with one_line_errors():
        sys.exit(main())
