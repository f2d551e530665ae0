"""Checks annotations and results before pycocotools evaluates them, and numbers annotations as it needs them.

pycocotools computes in C and does not check its input. A truncated mask makes it read beyond its memory, a polygon far
outside its image makes it use all memory, and an annotation whose id is 0 is never counted as found.
"""

import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from numbers import Real

from mmengine.logging import print_log
from pycocotools.coco import COCO

from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.data.coco_fields import (
    ANNOTATION_ID,
    BOX,
    IS_CROWD,
    KEY,
    NUMBER,
    Field,
    entry_problem,
    finite_problem,
    size_problem,
    structure_problem,
)
from fishnet_mmdet.data.coco_geometry import PolygonBatch
from fishnet_mmdet.data.coco_masks import is_polygon, mask_problem, rle_problem
from fishnet_mmdet.data.json_files import brief

IOU_TYPES = ('bbox', 'segm')

ENTRIES = {
    'images': {'id': KEY},
    'categories': {'id': KEY, 'name': KEY},
    'annotations': {'id': ANNOTATION_ID, 'image_id': KEY, 'category_id': KEY},
}
"""Fields that every entry must have to be indexed. Ids of annotations may be texts: they are renumbered."""

ANNOTATION = {**ENTRIES['annotations'], 'area': NUMBER, 'iscrowd': IS_CROWD._replace(optional=True)}
ANY = Field(lambda value: True, '')
MASK = Field(lambda value: isinstance(value, Mapping), 'not an RLE with size and counts')
RESULT = {
    'bbox': {'image_id': ANY, 'category_id': ANY, 'bbox': BOX, 'score': NUMBER},
    'segm': {'image_id': ANY, 'category_id': ANY, 'segmentation': MASK, 'score': NUMBER},
}
"""Fields of a result by IoU type. Image and category are looked up in the annotations."""


class ResultsError(UserError, ValueError):
    """A results or annotation file that cannot be evaluated; the message says where and why."""


def check_results(truth: COCO, results: Sequence[Mapping], iou_type: str) -> list[dict]:
    """Checks results against the annotations and keeps the fields that `iou_type` needs.

    The box of a segm result is left out. Otherwise pycocotools would take the area from it and not from the mask, and
    the box would decide whether the object is small, medium or large. If boxes are evaluated and no result has one,
    pycocotools derives them, and the areas, from the masks.

    Args:
        truth: The annotations, checked.
        results: Entries of a COCO results file.
        iou_type: 'bbox' or 'segm'.

    Raises:
        ResultsError: It is not a list of results, or a field of one is missing or wrong, or the annotations do not have
            its image or category.
    """
    if iou_type not in IOU_TYPES:
        raise ResultsError(f'iou type {iou_type!r} is not known; choose from {", ".join(IOU_TYPES)}')
    if not isinstance(results, list):
        raise ResultsError(f'results must be a list of detections, not {type(results).__name__}')
    rows = []
    if iou_type == 'bbox' and _have_only_masks(results):
        iou_type = 'segm'
    for number, row in enumerate(results):
        if problem := _result_problem(truth, row, iou_type):
            raise ResultsError(f'result {number}: {problem}')
        rows.append({key: row[key] for key in RESULT[iou_type]})
    return rows


def _have_only_masks(results: Sequence[object]) -> bool:
    """Whether all results have masks and none has a box; pycocotools takes an empty list for no box."""
    return all(isinstance(row, Mapping) and not row.get('bbox') and row.get('segmentation') for row in results)


def _result_problem(truth: COCO, row: object, iou_type: str) -> str | None:
    if problem := entry_problem(row, RESULT[iou_type]) or _reference_problem(truth, row):
        return problem
    if found := finite_problem(row, ('score', 'bbox') if iou_type == 'bbox' else ('score',)):
        return found.text
    return _result_mask_problem(row['segmentation'], truth.imgs[row['image_id']]) if iou_type == 'segm' else None


def _result_mask_problem(mask: Mapping, image: Mapping) -> str | None:
    if problem := size_problem(image):
        return f'its image: {problem}'
    if not isinstance(mask.get('counts'), str):
        return f'the counts of its mask are not a text: {brief(mask.get("counts"), 200)}'
    found = rle_problem(mask, image['height'], image['width'])
    return found.text if found and not found.harmless else None


def _reference_problem(truth: COCO, entry: Mapping) -> str | None:
    """Whether the annotations lack the image or the category that an entry names."""
    image, category = entry['image_id'], entry['category_id']
    if not (isinstance(image, Real | str) and image in truth.imgs):
        return (
            f'image {brief(image, 200)} is not among the images of the annotations: do the two files belong together?'
        )
    if not (isinstance(category, Real | str) and category in truth.cats):
        return f'category {brief(category, 200)} is not among those of the annotations: {sorted(truth.cats)}'
    return None


def checked_annotations(truth: COCO, iou_type: str) -> COCO:
    """Returns annotations that pycocotools counts correctly: numbered from 1, no id twice, `iscrowd` in each.

    Those of an image or a category that is not listed are left out, with a warning.

    Args:
        truth: The annotations; they are not changed.
        iou_type: 'bbox' or 'segm'; masks are checked only for the latter.

    Raises:
        ResultsError: Names the first annotation that cannot be evaluated.
    """
    annotations = truth.dataset.get('annotations', [])
    problems = list(_annotation_problems(truth, annotations, iou_type))
    if problems:
        number, problem = min(problems)
        entry = annotations[number]
        name = f'annotation {brief(entry.get("id"), 200)}' if isinstance(entry, Mapping) else 'annotation'
        raise ResultsError(f'{name} (number {number} of the file): {problem}')
    listed = [annotation for annotation in annotations if not _reference_problem(truth, annotation)]
    if odd := len(annotations) - len(listed):
        print_log(
            f'{odd} of {len(annotations)} annotations name an image or a category that the annotations do not list; '
            'they do not count',
            logger='current',
            level=logging.WARNING,
        )
        annotations = listed
    ids = [annotation['id'] for annotation in annotations]
    are_counted = all(type(i) is int and 0 < i < 2**53 for i in ids) and len(set(ids)) == len(ids)
    whole = list(map(_without_short_parts, annotations)) if iou_type == 'segm' else annotations
    are_whole = all(new is old for new, old in zip(whole, annotations, strict=True))
    if are_counted and are_whole and all('iscrowd' in annotation for annotation in annotations):
        return truth
    renumbered = [{'iscrowd': 0, **annotation, 'id': number} for number, annotation in enumerate(whole, 1)]
    return indexed({**truth.dataset, 'annotations': renumbered})


def _annotation_problems(truth: COCO, annotations: Sequence[Mapping], iou_type: str) -> Iterator[tuple[int, str]]:
    """Yields number and problem of each annotation that pycocotools would not evaluate correctly."""
    batch = PolygonBatch()
    fields = {**ANNOTATION, 'bbox': BOX} if iou_type == 'bbox' else ANNOTATION
    names = ('area', 'bbox') if iou_type == 'bbox' else ('area',)
    for number, annotation in enumerate(annotations):
        problem = entry_problem(annotation, fields)
        # pycocotools does not look at it.
        if not problem and _reference_problem(truth, annotation):
            continue
        if not problem and (found := finite_problem(annotation, names)):
            problem = found.text
        if not problem and iou_type == 'segm':
            problem = _mask_problem(number, annotation, truth.imgs[annotation['image_id']], batch)
        if problem:
            yield number, problem
        if batch.is_full:
            yield from _polygon_problems(batch)
            batch = PolygonBatch()
    yield from _polygon_problems(batch)


def _mask_problem(number: int, annotation: Mapping, image: Mapping, batch: PolygonBatch) -> str | None:
    """What is wrong with a mask as it is written; polygons are added to the batch, which checks where they lie."""
    if problem := size_problem(image):
        return f'its image: {problem}'
    mask = annotation.get('segmentation')
    found = mask_problem(mask, image['height'], image['width'])
    if found and not found.harmless:
        return found.text
    if isinstance(mask, list):
        batch.add(number, mask, image['width'], image['height'])
    return None


def _polygon_problems(batch: PolygonBatch) -> Iterator[tuple[int, str]]:
    return ((number, problem.text) for number, problem in batch.problems() if not problem.harmless)


def _without_short_parts(annotation: dict) -> dict:
    """An annotation without the parts of its mask that are not polygons, as MMDetection trains on it."""
    parts = annotation.get('segmentation')
    if not isinstance(parts, list) or all(map(is_polygon, parts)):
        return annotation
    return {**annotation, 'segmentation': [part for part in parts if is_polygon(part)]}


def indexed(dataset: object) -> COCO:
    """Makes a COCO object of the content of an annotation file.

    Raises:
        ResultsError: The content is not COCO's.
    """
    if problem := structure_problem(dataset):
        raise ResultsError(problem)
    if 'annotations' not in dataset:
        raise ResultsError('it has no annotations to evaluate against')
    for kind, fields in ENTRIES.items():
        for number, entry in enumerate(dataset[kind]):
            if problem := entry_problem(entry, fields):
                raise ResultsError(f'{kind}[{number}]: {problem}')
        if kind != 'annotations' and len({isinstance(entry['id'], str) for entry in dataset[kind]}) > 1:
            raise ResultsError(f'some ids of {kind} are numbers and some are texts; all must be of one type')
    coco = COCO()
    coco.dataset = dataset
    with redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco
