"""What pycocotools takes on trust: are annotations and results numbers, of the right images, in sound masks?

pycocotools computes in C. A mask whose text is cut short makes it read past its memory, a polygon that reaches far beyond
its image makes it ask for all the memory there is, and an annotation whose id is 0 counts as never found. So nothing
reaches it unchecked.
"""

import io
from collections.abc import Container, Mapping, Sequence
from contextlib import redirect_stdout
from numbers import Real
from typing import Any

import numpy as np
from pycocotools.coco import COCO

from fishnet_mmdet.data.coco import (
    MAX_OUTLINE,
    FormatError,
    brief,
    is_finite,
    is_image_size,
    is_whole_polygon,
    outlines,
    rle_runs,
)
from fishnet_mmdet.errors import UserError

IOU_TYPES = ('bbox', 'segm')


class ResultsError(UserError, ValueError):
    """A results or annotation file that cannot be evaluated; the message says where and why."""


def check_results(truth: COCO, results: Sequence[Mapping], iou_type: str) -> list[dict]:
    """Checks result rows against the annotations and keeps of each what `iou_type` is judged by.

    A segm row loses its box: pycocotools would take the object's area from it rather than from the mask, and
    put it among the small, medium or large ones by that.

    Args:
        truth: The annotations, checked.
        results: Rows of a COCO results file.
        iou_type: 'bbox' or 'segm'.

    Raises:
        ResultsError: Not a list of rows, a row without a needed field or with an unsound one, an image or a category
            that the annotations do not have.
    """
    if iou_type not in IOU_TYPES:
        raise ResultsError(f'iou type {iou_type!r} is not known; allowed: {", ".join(IOU_TYPES)}')
    if not isinstance(results, list):
        raise ResultsError(f'results must be a list of detections, not {type(results).__name__}')
    shape = 'bbox' if iou_type == 'bbox' else 'segmentation'
    needed = ('image_id', 'category_id', shape, 'score')
    rows = []
    for number, row in enumerate(results):
        if not isinstance(row, Mapping) or any(key not in row for key in needed):
            raise ResultsError(
                f'result {number} lacks a field: {iou_type} needs {", ".join(needed)}; got {brief(row, 200)}'
            )
        if not _among(row['image_id'], truth.imgs):
            raise ResultsError(
                f'result {number} is of image {brief(row["image_id"], 200)}, which the annotations do not have: '
                'do the two files belong together?'
            )
        if not _among(row['category_id'], truth.cats):
            raise ResultsError(
                f'result {number} has category {brief(row["category_id"], 200)}; the annotations have '
                f'{sorted(truth.cats)}'
            )
        image = truth.imgs[row['image_id']]
        problem = box_problem(row[shape]) if shape == 'bbox' else rle_problem(row[shape], image, texts=True)
        if not _is_number(row['score']):
            problem = f'its score is no number: {brief(row["score"], 200)}'
        if problem:
            raise ResultsError(f'result {number}, of image {row["image_id"]!r}: {problem}')
        rows.append({key: row[key] for key in needed})
    return rows


def checked_annotations(truth: COCO, iou_type: str) -> COCO:
    """The annotations, as pycocotools needs them to count rightly: numbered from 1, each once, `iscrowd` in each.

    Args:
        truth: The annotations; they are not changed.
        iou_type: 'bbox' or 'segm'; masks are looked at only for the latter.

    Raises:
        ResultsError: Names the first annotation that is not sound.
    """
    annotations = truth.dataset.get('annotations', [])
    for number, annotation in enumerate(annotations):
        if problem := _annotation_problem(truth, annotation, iou_type):
            name = f'annotation {brief(annotation.get("id"), 200)}' if isinstance(annotation, Mapping) else 'annotation'
            raise ResultsError(f'{name} (number {number} of the file): {problem}')
    ids = [annotation['id'] for annotation in annotations]
    counted = all(type(i) is int and 0 < i < 2**53 for i in ids) and len(set(ids)) == len(ids)
    whole = list(map(_whole_parts, annotations)) if iou_type == 'segm' else annotations
    are_whole = all(new is old for new, old in zip(whole, annotations, strict=True))
    if counted and are_whole and all('iscrowd' in annotation for annotation in annotations):
        return truth
    sound = [{'iscrowd': 0, **annotation, 'id': number} for number, annotation in enumerate(whole, 1)]
    return indexed({**truth.dataset, 'annotations': sound})


def _whole_parts(annotation: dict) -> dict:
    """An annotation without those parts of its polygons that are none, as MMDetection trains on it."""
    parts = annotation.get('segmentation')
    if not isinstance(parts, list) or all(map(is_whole_polygon, parts)):
        return annotation
    return {**annotation, 'segmentation': [part for part in parts if is_whole_polygon(part)]}


FIELDS = {'images': ('id',), 'categories': ('id', 'name'), 'annotations': ('id', 'image_id', 'category_id')}
"""What every entry of an annotation file needs; numbers, or texts."""


def indexed(dataset: Any) -> COCO:
    """A COCO object of what an annotation file holds.

    Raises:
        ResultsError: Not COCO's layout.
    """
    if not isinstance(dataset, dict) or not {'images', 'categories', 'annotations'} <= set(dataset):
        raise ResultsError('not COCO annotations: images, categories and annotations are needed')
    for kind, fields in FIELDS.items():
        if not isinstance(dataset[kind], list):
            raise ResultsError(f'{kind} must be a list, not {type(dataset[kind]).__name__}')
        for number, entry in enumerate(dataset[kind]):
            if not isinstance(entry, dict) or not all(type(entry.get(field)) in (int, str) for field in fields):
                raise ResultsError(
                    f'{kind}: entry {number} needs {", ".join(fields)}, each a number or a text; got {brief(entry, 200)}'
                )
        if kind != 'annotations' and len({type(entry['id']) for entry in dataset[kind]}) > 1:
            raise ResultsError(f'the ids of {kind} are partly numbers, partly texts')
    coco = COCO()
    coco.dataset = dataset
    with redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _annotation_problem(truth: COCO, annotation: Mapping, iou_type: str) -> str | None:
    if not _among(annotation['image_id'], truth.imgs):
        return f'its image {brief(annotation["image_id"], 200)} is not among the images'
    if not _among(annotation['category_id'], truth.cats):
        return f'its category {brief(annotation["category_id"], 200)} is not among {sorted(truth.cats)}'
    if not _is_number(annotation.get('area')):
        return f'its area is no number: {brief(annotation.get("area"), 200)}'
    if annotation.get('iscrowd', 0) not in (0, 1):
        return f'its iscrowd is neither 0 nor 1: {brief(annotation["iscrowd"], 200)}'
    if iou_type == 'bbox':
        return box_problem(annotation.get('bbox'))
    image, shape = truth.imgs[annotation['image_id']], annotation.get('segmentation')
    return rle_problem(shape, image) if isinstance(shape, Mapping) else polygons_problem(shape, image)


def box_problem(box: Any) -> str | None:
    """What is wrong with a box, which must be four numbers."""
    if isinstance(box, list | tuple) and len(box) == 4 and all(map(_is_number, box)):
        return None
    return f'its box is not four numbers: {brief(box, 200)}'


def rle_problem(mask: Any, image: Mapping, texts: bool = False) -> str | None:
    """What is wrong with a run-length mask.

    Args:
        mask: Its size, and its runs as text or as a list.
        image: Its image's entry of the annotations.
        texts: Whether runs must be text, as they must in results.
    """
    if not isinstance(mask, Mapping) or not {'size', 'counts'} <= set(mask):
        return f'its mask has no size and counts: {brief(mask, 200)}'
    if problem := _side_problem(image):
        return problem
    if mask['size'] != [image['height'], image['width']]:
        return (
            f'its mask is of size {brief(mask["size"], 200)} (height, width), its image of '
            f'{[image["height"], image["width"]]}'
        )
    if texts and not isinstance(mask['counts'], str):
        return f'the counts of its mask are no text: {brief(mask["counts"], 200)}'
    if isinstance(mask['counts'], bytes):  # what pycocotools leaves in annotations that it has evaluated
        mask = {**mask, 'counts': mask['counts'].decode('latin-1')}
    try:
        # pycocotools would look for missing pixels for ever, and read on where a text is cut short.
        rle_runs(mask)
    except FormatError as error:
        return f'its mask: {error}'
    return None


def polygons_problem(polygons: Any, image: Mapping) -> str | None:
    """What is wrong with the polygons of an annotation."""
    if not isinstance(polygons, list) or not polygons:
        return f'its segmentation is neither polygons nor a mask: {brief(polygons, 200)}'
    if problem := _side_problem(image):
        return problem
    bounds = image['width'], image['height']
    for place, polygon in enumerate(polygons):
        if not isinstance(polygon, list) or not all(map(_is_number, polygon)):
            return f'a polygon of it is no list of numbers: {brief(polygon, 200)}'
        if not is_whole_polygon(polygon):
            if place:  # left out later; pycocotools goes by the first
                continue
            return f'its first polygon is not three points or more: {brief(polygon, 200)}'
        for bound, values in zip(bounds, (polygon[::2], polygon[1::2]), strict=True):
            if min(values) < -max(bounds) or max(values) > bound + max(bounds):
                return (
                    f'a polygon of it reaches far beyond its image of {bounds[0]} x {bounds[1]}: {brief(polygon, 200)}'
                )
        if (length := outlines(np.array(polygon, float), np.zeros(1, int))[0]) > MAX_OUTLINE:
            return f'a polygon of it has edges of {length:,.0f} pixels; up to {MAX_OUTLINE:,} are drawn'
    return None


def _side_problem(image: Mapping) -> str | None:
    sides = [image.get('height'), image.get('width')]
    if is_image_size(*sides):
        return None
    return f'its image has no sound height and width: {brief(sides, 200)}'


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and is_finite(value)


def _among(value: Any, known: Container) -> bool:
    return isinstance(value, Real | str) and value in known
