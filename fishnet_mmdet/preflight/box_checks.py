"""Checks the boxes of a file together: whether they are corners, and whether objects are listed twice."""

from collections.abc import Iterator, Sequence

import numpy as np

from fishnet_mmdet.data.coco_fields import are_numbers, is_finite
from fishnet_mmdet.data.coco_geometry import EDGE, BoxMeasures, box_ious
from fishnet_mmdet.data.coco_masks import is_polygon
from fishnet_mmdet.preflight.file_context import FileContext, Placed
from fishnet_mmdet.preflight.findings import Finding

FEW = 8
"""With fewer boxes than this, boxes that look like corners may do so by chance."""

SAMPLE = 1000
"""About as many polygons are compared with their boxes."""

CORNERS_FIT, SIZES_FIT = 0.9, 0.8
"""IoU with its mask above which a box fits as two corners, where it is below the second one as COCO reads it."""

OVER_EDGE_SHARE = 0.1
AREA_TOLERANCE = 0.01


def check_corners(
    valid: Sequence[Placed], boxes: np.ndarray, measures: BoxMeasures, context: FileContext
) -> Iterator[Finding]:
    """Checks that the boxes of a file are not x1, y1, x2, y2.

    Masks say more; `MaskChecks` compares them. Without them, areas can tell, or that all boxes lie in their images as
    corners, and many do not as sizes.

    Args:
        valid: The valid annotations of listed images.
        boxes: (N, 4) their boxes.
        measures: How the boxes lie.
        context: What the annotations are checked against.
    """
    if not len(boxes) or (context.use.masks and not context.use.panoptic):
        return
    images = [context.image_of(entry) for _, entry in valid]
    sides = np.array([(image.width, image.height) for image in images], np.float64)
    areas = np.array([entry['area'] for _, entry in valid], np.float64)
    of_sizes = boxes[:, 2:].prod(1)
    of_corners = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(1)
    as_sizes, as_corners = (np.abs(area - areas) <= AREA_TOLERANCE * areas for area in (of_sizes, of_corners))
    votes = int((as_corners & ~as_sizes).sum())
    drawn, fitting = _compare_with_polygons(valid, boxes)
    if votes > len(boxes) / 2:
        text = f'areas of {votes} of {len(boxes)} boxes are (x2 - x1) * (y2 - y1)'
    elif fitting > drawn / 2:
        text = f'{fitting} of {drawn} boxes fit their polygons as corners, and not as sizes'
    elif _look_like_corners(boxes, sides) and measures.over.mean() >= OVER_EDGE_SHARE:
        text = (
            f'read as corners, all {len(boxes)} boxes lie in their images; {int(measures.over.sum())} do not as sizes'
        )
    else:
        return
    yield context.source.finding('box-corners', text)


def _compare_with_polygons(valid: Sequence[Placed], boxes: np.ndarray) -> tuple[int, int]:
    """How many objects were compared with their polygons, and how many fit them only as corners."""
    numbers, outlines = [], []
    for number in range(0, len(valid), 1 + len(valid) // SAMPLE):
        parts = valid[number][1].get('segmentation')
        if isinstance(parts, list) and parts and all(are_numbers(part) and is_polygon(part) for part in parts):
            x, y = ([float(v) for part in parts for v in part[axis::2] if is_finite(v)] for axis in (0, 1))
            numbers.append(number)
            outlines.append((min(x, default=0), min(y, default=0), max(x, default=0), max(y, default=0)))
    outlines, boxes = np.array(outlines, np.float64).reshape(-1, 4), boxes[numbers].reshape(-1, 4)
    as_sizes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    is_better = (box_ious(boxes, outlines) > CORNERS_FIT) & (box_ious(as_sizes, outlines) < SIZES_FIT)
    return len(numbers), int(is_better.sum())


def _look_like_corners(boxes: np.ndarray, sides: np.ndarray) -> bool:
    is_box = boxes[:, 2:] > boxes[:, :2]
    return len(boxes) >= FEW and bool(is_box.all() and (boxes[:, 2:] <= sides + EDGE).all())


def check_repeats(valid: Sequence[Placed], boxes: np.ndarray, context: FileContext) -> Iterator[Finding]:
    """Names objects whose image, class and box are those of an earlier one; crowds are left out.

    Args:
        valid: The valid annotations of listed images.
        boxes: (N, 4) their boxes; they are compared to a tenth of a pixel.
        context: What the annotations are checked against.
    """
    numbers = np.array([n for n, (_, e) in enumerate(valid) if _counts(e, context)], np.int64)
    if not numbers.size:
        return
    places = np.array([context.image_of(valid[n][1]).place for n in numbers.tolist()], np.int64)
    classes = np.array([valid[n][1]['category_id'] for n in numbers.tolist()], np.int64)
    keys = np.column_stack([places, classes, np.rint(boxes[numbers] * 10).astype(np.int64)])
    order = np.lexsort((numbers, *keys.T[::-1]))
    same = (keys[order][1:] == keys[order][:-1]).all(1)
    for i in np.flatnonzero(same):
        first, second = (valid[numbers[order[i + step]]] for step in (0, 1))
        yield context.finding('object-twice', f'bbox {second[1]["bbox"]}, as annotation {first[1]["id"]}', second)


def _counts(entry: dict, context: FileContext) -> bool:
    return not entry.get('iscrowd') and not entry.get('ignore') and entry['category_id'] in context.wanted
