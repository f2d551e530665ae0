"""Divides one annotation file into two, by image, and writes files that only this package may overwrite."""

import json
import random
from collections import Counter
from pathlib import Path

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.base.outputs import writing
from fishnet_mmdet.data.coco_fields import key_in, read_coco

SHARE = 0.2
"""Share of the images that are held out for validation."""

MARK = 'written by fishnet-mmdet'

SEED = 0
"""Of the shuffle that decides which images are held out."""


def split_annotations(path: Path, folder: Path, overwrite: bool) -> tuple[Path, Path]:
    """Divides an annotation file by image. No class loses its last training image to validation.

    Args:
        path: The file.
        folder: Where `train.json` and `val.json` are written.
        overwrite: Whether files of an earlier split may be replaced.

    Returns:
        The training file and the validation file; twice the file itself if no image can be spared.

    Raises:
        UserError: One of the files exists, and may not be replaced.
    """
    data = read_coco(path)
    held_out = _held_out(data)
    if not held_out:
        return path, path
    written = []
    for name in ('train', 'val'):
        images = [i for place, i in enumerate(data['images']) if (place in held_out) == (name == 'val')]
        ids = {key_in(image, 'id') for image in images}
        # Entries that cannot be read stay, in both files, for the data checks to report.
        annotations = [a for a in data.get('annotations', []) if (key := key_in(a, 'image_id')) is None or key in ids]
        content = {**data, 'images': images, 'annotations': annotations}
        written.append(write_annotations(folder / f'{name}.json', content, overwrite))
    return written[0], written[1]


def _held_out(data: dict) -> set[int]:
    """Places in `images` of those that validation gets."""
    places: dict[object, int] = {key_in(image, 'id'): place for place, image in enumerate(data['images'])}
    places.pop(None, None)
    classes: dict[int, set] = {}
    for entry in data.get('annotations', []):
        place, category = places.get(key_in(entry, 'image_id')), key_in(entry, 'category_id')
        if place is not None and category is not None:
            classes.setdefault(place, set()).add(category)
    left = Counter(key for keys in classes.values() for key in keys)
    order = list(range(len(data['images'])))
    random.Random(SEED).shuffle(order)
    wanted, held_out = min(len(order) - 1, max(1, round(SHARE * len(order)))), set()
    for place in order:
        keys = classes.get(place, ())
        if len(held_out) < wanted and all(left[key] > 1 for key in keys):
            held_out.add(place)
            left.subtract(keys)
    return held_out


def write_annotations(path: Path, content: dict, overwrite: bool) -> Path:
    """Writes an annotation file with a mark, and never over a file without it.

    Raises:
        UserError: The file exists, and either `overwrite` is false or another program wrote it; or it cannot be
            written.
    """
    if path.exists():
        with path.open('rb') as file:
            is_ours = MARK.encode() in file.read(1000)
        if not is_ours:
            raise UserError(f'{path} exists and was not written by fishnet-mmdet: choose another name with -o')
        if not overwrite:
            raise UserError(f'{path} exists: add --overwrite, or choose another name with -o')
    with writing('-o', path):
        write_atomically(path, json.dumps({'made': MARK, **{k: v for k, v in content.items() if k != 'made'}}).encode())
    return path
