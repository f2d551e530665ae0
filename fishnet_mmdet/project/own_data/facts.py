"""Measures a COCO file: sizes of images and objects, classes, masks. What is malformed is left to the data checks."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.data.coco_fields import (
    ANNOTATION,
    CATEGORY,
    are_numbers,
    entry_problem,
    finite_problem,
    image_problem,
    read_coco,
)

MEASURED = {name: ANNOTATION[name] for name in ('image_id', 'category_id', 'bbox', 'iscrowd')}
"""Fields of an annotation that are measured. One without an area, which the data checks report, is an object too."""


@dataclass(frozen=True)
class Facts:
    """What is known of the data in an annotation file.

    Attributes:
        path: The file.
        names: File names of the images.
        sizes: (N, 2) longer and shorter side of each image in pixels.
        classes: Names of the categories, in the order of the file.
        counts: Number of objects by class.
        sides: (M,) square root of the area of each object's box, in pixels of the image.
        relative: (M,) the same, divided by the longer side of its image.
        masks: Share of the objects that have a mask other than the rectangle of their box.
        per_image: Number of objects of each image that has any, without crowds.
    """

    path: Path
    names: list[str]
    sizes: np.ndarray
    classes: tuple[str, ...]
    counts: Counter
    sides: np.ndarray
    relative: np.ndarray
    masks: float
    per_image: np.ndarray


def facts_of(path: Path) -> Facts:
    """Reads an annotation file and measures its valid entries.

    Raises:
        UserError: It cannot be read, is not COCO's, or lists no image or category that is valid.
    """
    data = read_coco(path)
    images = {image['id']: image for image in data['images'] if not image_problem(image)}
    categories = {c['id']: c['name'] for c in data['categories'] if not entry_problem(c, CATEGORY)}
    for name, valid in (('images', images), ('categories', categories)):
        if not valid:
            problems = filter(None, map(image_problem, data['images'])) if name == 'images' else ()
            raise UserError(f'{path}: {name} has no valid entry' + ''.join(f': {p}' for p in list(problems)[:1]))
    objects = [
        entry
        for entry in data.get('annotations', [])
        if not entry_problem(entry, MEASURED)
        and not finite_problem(entry, ['bbox'])
        and entry['image_id'] in images
        and entry['category_id'] in categories
        and min(entry['bbox'][2:]) > 0
    ]
    single = [entry for entry in objects if not entry.get('iscrowd')]
    sides = np.array([(entry['bbox'][2] * entry['bbox'][3]) ** 0.5 for entry in single], np.float64)
    longer = {key: max(image['width'], image['height']) for key, image in images.items()}
    return Facts(
        path=path,
        names=[image['file_name'] for image in images.values()],
        sizes=np.array([sorted((i['width'], i['height']), reverse=True) for i in images.values()], np.float64),
        classes=tuple(dict.fromkeys(categories.values())),
        counts=Counter(categories[entry['category_id']] for entry in objects),
        sides=sides,
        relative=sides / np.array([longer[entry['image_id']] for entry in single], np.float64),
        masks=sum(map(_has_mask, single)) / max(1, len(single)),
        per_image=np.array([*Counter(entry['image_id'] for entry in single).values()], np.int64),
    )


def _has_mask(entry: Mapping) -> bool:
    """Whether an object has a mask. Some tools write the rectangle of the box as a polygon: that is none."""
    mask = entry.get('segmentation')
    if isinstance(mask, list) and len(mask) == 1 and are_numbers(mask[0]) and len(mask[0]) in (8, 10):
        points = mask[0][:8]
        x, y, width, height = entry['bbox']
        corners = {(a, b) for a in (x, x + width) for b in (y, y + height)}
        return any(
            min(abs(px - a) + abs(py - b) for a, b in corners) > 1
            for px, py in zip(points[::2], points[1::2], strict=True)
        )
    return bool(mask)
