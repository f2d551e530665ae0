"""Checks the annotations of a file, or the segments of a panoptic one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np

from fishnet_mmdet.data.coco_fields import ANNOTATION, IS_CROWD, Problem, entry_problem, finite_problem, is_id
from fishnet_mmdet.data.coco_geometry import BoxMeasures, PolygonBatch, measure_boxes
from fishnet_mmdet.data.coco_masks import mask_problem
from fishnet_mmdet.preflight.contents import ImageEntry, Objects, Use
from fishnet_mmdet.preflight.findings import Finding, Source

Placed = tuple[int, Mapping]
"""An entry with its index in the file."""


@dataclass(frozen=True)
class FileContext:
    """What an annotation is checked against: the rest of its file, and what the file is needed for."""

    source: Source
    use: Use
    images: Mapping[int | str, ImageEntry]
    categories: Sequence[tuple[int, str]]

    @property
    def list_name(self) -> str:
        """What findings call the list of entries."""
        return 'segments' if self.use.panoptic else 'annotations'

    @cached_property
    def known(self) -> set[int]:
        """Ids of all categories."""
        return {key for key, _ in self.categories}

    @cached_property
    def wanted(self) -> set[int]:
        """Ids of the categories that are not left out on purpose."""
        return {key for key, name in self.categories if name not in self.use.ignored}

    def image_of(self, entry: Mapping) -> ImageEntry:
        """The image of a valid annotation."""
        return self.images[entry['image_id']]

    def finding(self, kind: str, detail: str, placed: Placed) -> Finding:
        """A finding about an annotation whose own fields are well formed."""
        place, entry = placed
        return self.source.of_entry(kind, detail, (self.list_name, place), entry['image_id'], entry['id'])


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
        *_check_masks(valid, context),
        *_check_boxes(valid, measures, areas, context),
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
            text, annotation = f'{name}[{place}]: {problem.text}', key if is_id(key) else None
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
        if entry['image_id'] not in context.images:
            yield context.finding('image-absent', f'{name}[{place}]', placed)
        if entry['category_id'] not in context.known:
            yield context.finding('category-unknown', f'category_id is {entry["category_id"]}', placed)


def _check_masks(valid: Sequence[Placed], context: FileContext) -> Iterator[Finding]:
    use, batch = context.use, PolygonBatch()
    if not use.masks or use.panoptic:
        return
    for number, (place, entry) in enumerate(valid):
        if not (use.evaluated or _is_trained_on(entry, context)):
            continue
        mask, image = entry.get('segmentation'), context.image_of(entry)
        problem = mask_problem(mask, image.height, image.width)
        if problem:
            yield context.finding(problem.kind, problem.text, (place, entry))
        elif isinstance(mask, dict) and use.polygons_only and not entry.get('iscrowd'):
            yield context.finding('rle-ignored', 'its mask is an RLE', (place, entry))
        if isinstance(mask, list) and (problem is None or problem.harmless):
            batch.add(number, mask, image.width, image.height)
        if batch.is_full:
            yield from _check_polygons(batch, valid, context)
            batch = PolygonBatch()
    yield from _check_polygons(batch, valid, context)


def _check_polygons(batch: PolygonBatch, valid: Sequence[Placed], context: FileContext) -> Iterator[Finding]:
    for number, problem in batch.problems():
        yield context.finding(problem.kind, problem.text, valid[number])


def _is_trained_on(entry: Mapping, context: FileContext) -> bool:
    """Whether MMDetection trains on an object, if its box lies in the image."""
    width, height = entry['bbox'][2:]
    has_size = entry['area'] > 0 and width >= 1 and height >= 1
    return has_size and not entry.get('ignore') and entry['category_id'] in context.wanted


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
