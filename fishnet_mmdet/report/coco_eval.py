"""COCO's twelve official figures, from pycocotools and nowhere else."""

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fishnet_mmdet.data.coco import (
    FormatError,
    are_numbers,
    brief,
    is_finite,
    is_id,
    read_json,
    rle_runs,
)
from fishnet_mmdet.preflight.annotations import check_content
from fishnet_mmdet.preflight.findings import KINDS

FIGURES = (
    'AP', 'AP50', 'AP75', 'AP_S', 'AP_M', 'AP_L',
    'AR_1', 'AR_10', 'AR_100', 'AR_S', 'AR_M', 'AR_L',
)  # fmt: skip
"""Names in the order of `COCOeval.stats`."""

MAX_DETS = (1, 10, 100)
"""Detections per image that count, as on the COCO server."""

IOU_TYPES = ('bbox', 'segm')


HARMLESS = ('box-negative', 'box-outside', 'mask-empty', 'image-absent', 'category-unknown', 'path-escapes')
"""Errors of a preflight that pycocotools takes as they are: figures come out, whatever they mean."""


class ResultsError(ValueError):
    """A results or annotation file that cannot be evaluated; the message says where and why."""


def evaluate(
    truth: COCO,
    results: Sequence[Mapping],
    iou_type: str,
    category_ids: Sequence[int] | None = None,
    image_ids: Sequence[int] | None = None,
) -> tuple[dict[str, float], dict[str, float]]:
    """Evaluates detections against annotations, none at all included.

    Args:
        truth: The annotations.
        results: Rows of a COCO results file.
        iou_type: 'bbox' or 'segm'.
        category_ids: Categories to average over; all by default.
        image_ids: Images to evaluate; all by default.

    Returns:
        The twelve `FIGURES`, and AP by category name, as fractions of 1. A figure for which there is no
        annotation (no small objects, say) is -1, as pycocotools has it.

    Raises:
        ResultsError: A row that no annotation file could go with: see `check_results`.
    """
    rows = check_results(truth, results, iou_type)
    with redirect_stdout(io.StringIO()):
        evaluator = COCOeval(truth, _as_coco(truth, rows), iou_type)
        if category_ids is not None:
            evaluator.params.catIds = list(category_ids)
        if image_ids is not None:
            evaluator.params.imgIds = list(image_ids)
        evaluator.params.maxDets = list(MAX_DETS)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    figures = dict(zip(FIGURES, (float(v) for v in evaluator.stats), strict=True))
    return figures, _class_ap(truth, evaluator)


def check_results(truth: COCO, results: Sequence[Mapping], iou_type: str) -> list[dict]:
    """Checks result rows against the annotations and keeps of each what `iou_type` is judged by.

    A segm row loses its box: pycocotools would take the object's area from it rather than from the mask, and
    put it among the small, medium or large ones by that.

    Raises:
        ResultsError: Not a list of rows, a row without a needed field, an image or a category that the
            annotations do not have.
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
                f'result {number} lacks a field: {iou_type} needs {", ".join(needed)}; got {str(row)[:200]}'
            )
        if row['image_id'] not in truth.imgs:
            raise ResultsError(
                f'result {number} is of image {row["image_id"]!r}, which the annotations do not have: '
                'do the two files belong together?'
            )
        if row['category_id'] not in truth.cats:
            raise ResultsError(
                f'result {number} has category {row["category_id"]!r}; the annotations have '
                f'{sorted(truth.cats)}'
            )
        if shape == 'segmentation' and (problem := _size_problem(truth.imgs[row['image_id']], row[shape])):
            raise ResultsError(f'result {number}: {problem}')
        rows.append({key: row[key] for key in needed})
    return rows


def _size_problem(image: Mapping, mask: Mapping) -> str | None:
    """Pycocotools calls masks of different sizes disjoint, and says nothing."""
    size = [image['height'], image['width']]
    return None if list(mask['size']) == size else f'its mask is {list(mask["size"])} large, the image {size}'


def load_annotations(path: Path | str, iou_type: str = 'segm') -> COCO:
    """Reads a COCO annotation file.

    Args:
        path: The file.
        iou_type: What it is going to be evaluated by: masks are looked at for 'segm' only.

    Raises:
        ResultsError: No such file, not JSON, not COCO's layout, or an entry that pycocotools would fail on.
    """
    try:
        data = read_json(path)
        contents = check_content(Path(path), data, masks=iou_type == 'segm', evaluated=True)
    except FormatError as error:
        raise ResultsError(f'{path}: not COCO annotations: {str(error).removeprefix(f"{path}: ")}') from error
    fatal = [f for f in contents.findings if KINDS[f.kind].stops and f.kind not in HARMLESS]
    if fatal:
        shown = ''.join(f'\n  {KINDS[f.kind].what}: {f}' for f in fatal[:5])
        raise ResultsError(f'{path}: {len(fatal)} entries cannot be evaluated:{shown}')
    coco = COCO()
    coco.dataset = {'annotations': [], **data}
    with redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def load_results(path: Path | str) -> list[dict]:
    """Reads a COCO results file of boxes, masks or both.

    Raises:
        ResultsError: No such file, not JSON, not a list, or a row of it that pycocotools would fail on.
    """
    try:
        rows = read_json(path)
    except FormatError as error:
        raise ResultsError(str(error)) from error
    if not isinstance(rows, list):
        raise ResultsError(f'{path}: not a COCO results file: a list of detections is needed')
    for number, row in enumerate(rows):
        if problem := _row_problem(row):
            raise ResultsError(f'{path}: result {number}: {problem}')
    return rows


def _row_problem(row: object) -> str | None:
    """What is wrong with the values of a row; whether it has all that it needs, `check_results` says."""
    if not isinstance(row, dict):
        return f'{brief(row)} is not an object'
    for name, kinds in (('image_id', 'a whole number or a text'), ('category_id', 'a whole number')):
        value = row.get(name, 0)
        if not (is_id(value) or isinstance(value, str) and name == 'image_id'):
            return f'{name} is {brief(value)}, not {kinds}'
    score = row.get('score', 0)
    if not are_numbers([score]) or not is_finite(score):
        return f'score is {brief(score)}, not a finite number'
    box = row.get('bbox', [0, 0, 0, 0])
    if not are_numbers(box, 4) or not all(map(is_finite, box)):
        return f'bbox is {brief(box)}, not a list of four finite numbers'
    return _mask_problem(row['segmentation']) if 'segmentation' in row else None


def _mask_problem(mask: object) -> str | None:
    if not isinstance(mask, dict) or not isinstance(mask.get('counts'), str):
        return f'segmentation is {brief(mask)}, not a compressed RLE'
    try:
        rle_runs(mask)
    except FormatError as error:
        return f'segmentation: {error}'
    return None


def _as_coco(truth: COCO, rows: list[dict]) -> COCO:
    """Detections as a COCO object. `loadRes` fails on an empty list, which is a result like any other."""
    if rows:
        truth.dataset.setdefault('info', {})  # pycocotools copies it without asking
        return truth.loadRes(rows)
    empty = COCO()
    empty.dataset = {**truth.dataset, 'annotations': []}
    empty.createIndex()
    return empty


def _class_ap(truth: COCO, evaluator: COCOeval) -> dict[str, float]:
    precision = evaluator.eval['precision'][:, :, :, 0, -1]  # (IoU, recall, category), all areas, 100 dets
    per_class = {}
    for index, category in enumerate(evaluator.params.catIds):
        valid = precision[:, :, index][precision[:, :, index] > -1]
        per_class[truth.cats[category]['name']] = float(np.mean(valid)) if valid.size else -1.0
    return per_class
