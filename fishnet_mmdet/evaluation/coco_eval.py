"""COCO's twelve official figures, computed by pycocotools, or on request by faster-coco-eval."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.data.json_files import MAX_BYTES, FormatError, read_json
from fishnet_mmdet.evaluation.coco_names import CLASS_FIGURES, FIGURES
from fishnet_mmdet.evaluation.results_files import ResultsError, check_results, checked_annotations, indexed

MAX_DETS = (1, 10, 100)
"""How many detections of an image count, as on the COCO server."""


class ClassResult(NamedTuple):
    """What was measured of one class.

    Attributes:
        objects: Number of its annotations, crowds not counted.
        figures: The `CLASS_FIGURES` as fractions of 1; NaN where there are no objects.
    """

    objects: int
    figures: dict[str, float]


def evaluate(
    truth: COCO,
    results: Sequence[Mapping],
    iou_type: str,
    category_ids: Sequence[int] | None = None,
    image_ids: Sequence[int] | None = None,
    fast: bool = False,
) -> tuple[dict[str, float], dict[str, ClassResult]]:
    """Evaluates detections against annotations. There may be no detections.

    Args:
        truth: The annotations.
        results: Entries of a COCO results file.
        iou_type: 'bbox' or 'segm'.
        category_ids: Categories to average over; all by default.
        image_ids: Images to evaluate; all by default.
        fast: Whether faster-coco-eval computes, in less time; see `evaluator_class`.

    Returns:
        The twelve `FIGURES` as fractions of 1, and the result of each class by its name; of categories with the same
        name, those that have annotations are kept, from the second one on as 'name (id)'. A figure without annotations
        (if there are no small objects, for example) is NaN; pycocotools' -1 would pass for a number.

    Raises:
        ResultsError: A result or an annotation cannot be evaluated; see `results_files`.
        UserError: `fast`, and faster-coco-eval is not installed.
    """
    evaluator_of = evaluator_class(fast and _has_short_ids(truth))
    rows = check_results(truth, results, iou_type)
    truth = checked_annotations(truth, iou_type)
    with redirect_stdout(io.StringIO()):
        evaluator = evaluator_of(truth, _as_coco(truth, rows), iou_type)
        if category_ids is not None:
            evaluator.params.catIds = list(category_ids)
        if image_ids is not None:
            evaluator.params.imgIds = list(image_ids)
        evaluator.params.maxDets = list(MAX_DETS)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    figures = dict(zip(FIGURES, map(_or_nan, evaluator.stats), strict=True))
    return figures, _class_results(truth, evaluator)


def evaluator_class(fast: bool) -> type[COCOeval]:
    """The class that compares detections with annotations: pycocotools', or that of faster-coco-eval.

    Both give the same figures; `tests/evaluation/test_fast_eval.py` compares them.

    Raises:
        UserError: `fast`, and faster-coco-eval is not installed.
    """
    if not fast:
        return COCOeval
    try:
        from faster_coco_eval import COCOeval_faster
    except ImportError as error:
        raise UserError(
            f'the fast evaluation needs the package faster-coco-eval ({error}): pip install faster-coco-eval. Without '
            '--fast-eval (in a config: fast=True of OfficialCocoMetric), pycocotools computes the same figures'
        ) from error
    return COCOeval_faster


def _has_short_ids(truth: COCO) -> bool:
    """Whether ids are numbers that a float holds exactly, as faster-coco-eval needs them."""
    return all(type(key) is int and abs(key) < 2**53 for key in (*truth.imgs, *truth.cats))


def load_annotations(path: Path | str, max_bytes: float = MAX_BYTES) -> COCO:
    """Reads a COCO annotation file.

    Args:
        path: The file.
        max_bytes: The largest size that is read.

    Raises:
        ResultsError: The file cannot be read, is not JSON, or is not in COCO's format.
    """
    data = _load_json(path, max_bytes)
    try:
        return indexed(data)
    except ResultsError as error:
        raise ResultsError(f'{path}: {error}') from error


def load_results(path: Path | str, max_bytes: float = MAX_BYTES) -> list:
    """Reads a COCO results file.

    Args:
        path: The file.
        max_bytes: The largest size that is read.

    Raises:
        ResultsError: The file cannot be read, is not JSON, or is not a list.
    """
    data = _load_json(path, max_bytes)
    if not isinstance(data, list):
        raise ResultsError(f'{path}: not a COCO results file, which is a list of detections')
    return data


def _load_json(path: Path | str, max_bytes: float) -> object:
    try:
        return read_json(path, max_bytes)
    except FormatError as error:
        raise ResultsError(str(error)) from error


def _as_coco(truth: COCO, rows: list[dict]) -> COCO:
    """Detections as a COCO object; pycocotools' `loadRes` fails if there are none."""
    if rows:
        # pycocotools copies `info`, which a file may lack.
        truth.dataset.setdefault('info', {})
        return truth.loadRes(rows)
    empty = COCO()
    empty.dataset = {**truth.dataset, 'annotations': []}
    empty.createIndex()
    return empty


def _or_nan(figure: float) -> float:
    return float(figure) if figure > -1 else float('nan')


def _class_results(truth: COCO, evaluator: COCOeval) -> dict[str, ClassResult]:
    params = evaluator.params
    counted = truth.getAnnIds(imgIds=params.imgIds, catIds=params.catIds, iscrowd=False)
    objects = Counter(annotation['category_id'] for annotation in truth.loadAnns(counted))
    results: dict[str, ClassResult] = {}
    for index, category in enumerate(params.catIds):
        # (IoU, recall, area) for 100 detections
        precision = evaluator.eval['precision'][:, :, index, :, -1]
        result = ClassResult(objects[category], _class_figures(precision, params.iouThrs))
        name = str(truth.cats[category]['name'])
        # Some tools write a root category with the name of a class above all others, and no annotation uses it.
        if name not in results or np.isnan(results[name].figures['AP']):
            results[name] = result
        elif not np.isnan(result.figures['AP']):
            results[f'{name} ({category})'] = result
    return results


def _class_figures(precision: np.ndarray, thresholds: np.ndarray) -> dict[str, float]:
    at = [np.isclose(thresholds, iou) for iou in (0.5, 0.75)]
    cuts = [precision[:, :, 0], *(precision[chosen, :, 0] for chosen in at), *(precision[..., a] for a in (1, 2, 3))]
    means = (float(cut[cut > -1].mean()) if (cut > -1).any() else float('nan') for cut in cuts)
    return dict(zip(CLASS_FIGURES, means, strict=True))
