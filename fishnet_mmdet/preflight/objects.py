"""Checks the annotations of a file, or the segments of a panoptic one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from fishnet_mmdet.data.coco_fields import (
    ANNOTATION,
    ID,
    IS_CROWD,
    Problem,
    entry_problem,
    finite_problem,
    is_annotation_id,
)
from fishnet_mmdet.data.coco_geometry import BoxMeasures, measure_boxes
from fishnet_mmdet.preflight.box_checks import check_corners, check_repeats
from fishnet_mmdet.preflight.contents import Objects, Use
from fishnet_mmdet.preflight.file_context import FileContext, Placed
from fishnet_mmdet.preflight.findings import Finding
from fishnet_mmdet.preflight.mask_checks import MaskChecks


def check_objects(entries: Sequence, context: FileContext) -> tuple[Objects, list[Finding]]:
    """Checks all annotations.

    Args:
        entries: The annotations, or the segments with the ids of their images.
        context: What they are checked against.

    Returns:
        The valid ones, and what is wrong with the others or with where objects lie.
    """
    problems = _form_problems(entries, context.use)
    formed = [(place, entries[place]) for place, problem in enumerate(problems) if problem is None]
    valid = [placed for placed in formed if placed[1]['image_id'] in context.images]
    boxes = np.array([entry['bbox'] for _, entry in valid], np.float64).reshape(-1, 4)
    sizes = chain.from_iterable((i.width, i.height) for i in (context.image_of(entry) for _, entry in valid))
    measures = measure_boxes(boxes, np.fromiter(sizes, np.float64, 2 * len(valid)).reshape(-1, 2))
    areas = np.array([entry['area'] for _, entry in valid], np.float64)
    findings = [
        *_check_form(entries, problems, context),
        *_check_references(formed, context),
        *MaskChecks(valid, boxes, measures, context).findings(),
        *_check_boxes(valid, measures, areas, context),
        *check_corners(valid, boxes, measures, context),
        *check_repeats(valid, boxes, context),
    ]
    ignored = np.array([bool(entry.get('ignore')) for _, entry in valid], bool)
    objects = Objects(
        image_ids=[entry['image_id'] for _, entry in valid],
        category_ids=np.array([entry['category_id'] for _, entry in valid], np.int64),
        is_crowd=np.array([bool(entry.get('iscrowd')) for _, entry in valid], bool),
        is_used=measures.usable & (areas > 0) & ~ignored,
    )
    return objects, findings


def _form_problems(entries: Sequence, use: Use) -> list[Problem | None]:
    """What is wrong with the fields of each entry, apart from its mask."""
    fields = {**ANNOTATION, 'iscrowd': IS_CROWD} if use.stock_metric and not use.panoptic else ANNOTATION
    if use.panoptic:
        # The id of a segment is its colour in the map.
        fields = {**fields, 'id': ID}
    problems: list[Problem | None] = []
    for entry in entries:
        if text := entry_problem(entry, fields):
            problems.append(Problem('entry-malformed', text))
        else:
            problems.append(finite_problem(entry, ('bbox', 'area')))
    return problems


def _check_form(entries: Sequence, problems: Sequence[Problem | None], context: FileContext) -> Iterator[Finding]:
    name = context.list_name
    for place, problem in enumerate(problems):
        if problem is None:
            continue
        entry = entries[place]
        if problem.kind == 'entry-malformed':
            key = entry.get('id') if isinstance(entry, dict) else None
            text, annotation = f'{name}[{place}]: {problem.text}', key if is_annotation_id(key) else None
            yield context.source.of_entry(problem.kind, text, (name, place), annotation=annotation)
        else:
            yield context.finding(problem.kind, problem.text, (place, entry))


def _check_references(formed: Sequence[Placed], context: FileContext) -> Iterator[Finding]:
    """Checks the annotations' own ids, and the images and categories that they name."""
    name, ids = context.list_name, set()
    for placed in formed:
        place, entry = placed
        key = entry['id']
        if not context.use.panoptic:
            if key in ids:
                yield context.finding('annotation-id-twice', f'{name}[{place}] has the id of an earlier one', placed)
            ids.add(key)
            if context.use.stock_metric and key == 0:
                yield context.finding('annotation-id-zero', f'{name}[{place}]', placed)
            if context.use.stock_metric and isinstance(key, str):
                yield context.finding('annotation-id-text', f'{name}[{place}]: a text', placed)
        if entry['image_id'] not in context.images:
            yield replace(context.finding('image-absent', f'{name}[{place}]', placed), fix=_other_type(entry, context))
        if entry['category_id'] not in context.known:
            yield context.finding('category-unknown', f'category_id is {entry["category_id"]}', placed)


def _other_type(entry: Mapping, context: FileContext) -> str | None:
    """How to solve that an image is not listed, if its id is listed as a text or as a number; None otherwise."""
    key = entry['image_id']
    other = int(key) if isinstance(key, str) and key.isdecimal() and len(key) < 19 else str(key)
    if other == key or other not in context.images:
        return None
    return 'write the ids of images and image_id of annotations both as numbers or both as texts'


def _check_boxes(
    valid: Sequence[Placed], measures: BoxMeasures, areas: np.ndarray, context: FileContext
) -> Iterator[Finding]:
    """Checks where boxes lie, of the categories that are not left out on purpose."""
    wanted = np.array([entry['category_id'] in context.wanted for _, entry in valid], bool)
    for kind, guilty in (
        ('box-negative', measures.negative),
        ('box-tiny', measures.tiny),
        ('box-outside', measures.outside),
        ('box-over-edge', measures.over),
        ('area-empty', measures.usable & (areas <= 0)),
    ):
        for number in np.flatnonzero(guilty & wanted):
            entry = valid[number][1]
            text = f'area {entry["area"]:g}' if kind == 'area-empty' else f'bbox {entry["bbox"]}'
            if kind in ('box-outside', 'box-over-edge'):
                image = context.image_of(entry)
                text += f', the image is {image.width} x {image.height}'
            yield context.finding(kind, text, valid[number])
