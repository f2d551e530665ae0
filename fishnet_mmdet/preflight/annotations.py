"""One annotation file, judged entry by entry; no image is opened here."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from fishnet_mmdet.data.coco import (
    LIMIT,
    MAX_OUTLINE,
    FormatError,
    are_numbers,
    brief,
    is_finite,
    is_id,
    is_image_size,
    is_whole_polygon,
    outlines,
    read_json,
    rle_runs,
)
from fishnet_mmdet.preflight.contents import Contents, ImageEntry, Use

EDGE = 1.0
"""Pixels by which a box or polygon may reach beyond its image: some tools count pixels from 1."""

CORNERS_AT_ONCE = 2_000_000
"""Polygons are measured in batches of about this many numbers, which bounds the memory that takes."""


def check_annotations(path: Path, use: Use | None = None) -> Contents:
    """Reads an annotation file and judges every entry of it.

    Args:
        path: The file.
        use: What it is needed for; by default for training on masks.

    Returns:
        What is in it. Nothing is raised: a file that cannot be read is a finding too.
    """
    try:
        return check_content(path, read_json(path), use or Use())
    except FormatError as error:
        contents = Contents(path)
        contents.add('file-broken', str(error).removeprefix(f'{path}: '))
        return contents


def check_content(path: Path, data: object, use: Use) -> Contents:
    """Judges what an annotation file holds, as `check_annotations` does, once it is read.

    Raises:
        FormatError: Nothing in it could be judged: it is no object, or has no images or categories.
    """
    _check_layout(data)
    contents = Contents(path, is_read=True)
    _check_categories(contents, data['categories'])
    _check_images(contents, data['images'])
    entries = data.get('annotations', [])
    if use.panoptic:
        entries = _segments(contents, entries)
    _Objects(contents, use).check(entries)
    return contents


def _check_layout(data: object) -> None:
    if not isinstance(data, dict):
        raise FormatError(f'the whole is {brief(data)}, not an object of images, annotations and categories')
    for name in ('images', 'categories', 'annotations'):
        if name not in data and name != 'annotations':  # those of COCO's test images have none
            raise FormatError(f'it has no {name}, only {brief(sorted(data))}')
        if not isinstance(data.get(name, []), list):
            raise FormatError(f'{name} is {brief(data[name])}, not a list')


def _check_categories(contents: Contents, entries: Sequence) -> None:
    ids, names = set(), set()
    for place, entry in enumerate(entries):
        if not (isinstance(entry, dict) and is_id(entry.get('id')) and isinstance(entry.get('name'), str)):
            contents.add(
                'file-broken',
                f'categories[{place}] is {brief(entry)}, without a whole number as id and a text as name',
            )
            continue
        key, name = entry['id'], entry['name']
        if key in ids or name in names:
            contents.add('category-twice', f'categories[{place}]: id {key}, name {name!r}')
            continue
        ids.add(key)
        names.add(name)
        contents.categories.append((key, name))


def _check_images(contents: Contents, entries: Sequence) -> None:
    texts = sum(isinstance(entry, dict) and isinstance(entry.get('id'), str) for entry in entries)
    if 0 < texts < len(entries):
        contents.add('file-broken', f'{texts} of {len(entries)} image ids are texts, the others are none')
    for place, entry in enumerate(entries):
        if problem := _image_problem(entry):
            contents.add('entry-malformed', f'images[{place}]: {problem}', entry=('images', place))
            continue
        key, name = entry['id'], entry['file_name']
        if key in contents.images:
            contents.add('image-id-twice', f'{contents.images[key].name!r} and {name!r}', image=key)
            continue
        contents.images[key] = ImageEntry(place, name, entry['width'], entry['height'])
    if not entries:
        contents.add('no-images', 'images is an empty list')


def _image_problem(entry: object) -> str | None:
    if not isinstance(entry, dict):
        return f'{brief(entry)} is not an object'
    for name in ('id', 'file_name', 'width', 'height'):
        if name not in entry:
            return f'has no {name}'
    if not (is_id(entry['id']) or isinstance(entry['id'], str)):
        return f'id is {brief(entry["id"])}, neither a whole number nor a text'
    if not isinstance(entry['file_name'], str) or not entry['file_name'] or '\0' in entry['file_name']:
        return f'file_name is {brief(entry["file_name"])}'
    if not is_image_size(entry['height'], entry['width']):
        return f'width is {brief(entry["width"])} and height {brief(entry["height"])}, not whole numbers of pixels'
    return None


def _segments(contents: Contents, entries: Sequence) -> Iterator[object]:
    """Segments of panoptic annotations as if each were an annotation of its own."""
    for place, entry in enumerate(entries):
        at = f'annotations[{place}]'
        if not isinstance(entry, dict) or not isinstance(entry.get('segments_info'), list):
            contents.add('entry-malformed', f'{at} is {brief(entry)}, without a list of segments_info')
            continue
        for segment in entry['segments_info']:
            yield {**segment, 'image_id': entry.get('image_id')} if isinstance(segment, dict) else segment


class _Objects:
    """The annotations of a file, one after the other for what they are, and all at once for where they lie."""

    def __init__(self, contents: Contents, use: Use) -> None:
        self.contents = contents
        self.use = use
        self.unique = not use.panoptic
        self.masks = use.masks and self.unique
        self.bare = use.bare and self.unique
        self.name = 'annotations' if self.unique else 'segments'
        self.needed = ['id', 'image_id', 'category_id', 'bbox', 'area', *['iscrowd'] * self.bare]
        self.known = {key for key, _ in contents.categories}
        self.meant = {key for key, name in contents.categories if name not in use.ignored}
        self.sound: list[Mapping] = []
        self.places: list[int] = []
        self.parts: list[Sequence[float]] = []
        self.owners: list[int] = []  # of each part, by its number among the sound
        self.corners = 0

    def check(self, entries: Sequence | Iterator) -> None:
        ids: set[int] = set()
        for place, entry in enumerate(entries):
            if problem := self._problem(entry):
                name = entry.get('id') if isinstance(entry, dict) else None
                about = {'annotation': name if is_id(name) else None, 'entry': (self.name, place)}
                self.contents.add('entry-malformed', f'{self.name}[{place}]: {problem}', **about)
                continue
            if not all(map(is_finite, (entry['area'], *entry['bbox']))):
                self._add('not-finite', f'bbox {brief(entry["bbox"])}, area {brief(entry["area"])}', place, entry)
                continue
            self._check_references(place, entry, ids)
            if entry['image_id'] in self.contents.images:
                self.sound.append(entry)
                self.places.append(place)
                if self.masks and (self.use.evaluated or self._is_read(entry)):
                    self._check_mask(entry)
        self._measure_polygons()
        self._check_boxes()

    def _add(self, kind: str, detail: str, place: int, entry: Mapping) -> None:
        about = {'annotation': entry['id'], 'image': entry['image_id'], 'entry': (self.name, place)}
        self.contents.add(kind, detail, **about)

    def _problem(self, entry: object) -> str | None:
        """What makes an entry useless, whatever it refers to."""
        if not isinstance(entry, dict):
            return f'{brief(entry)} is not an object'
        for name in self.needed:
            if name not in entry:
                return f'has no {name}'
        for name in ('id', 'category_id'):
            if not is_id(entry[name]):
                return f'{name} is {brief(entry[name])}, not a whole number'
        if not (is_id(entry['image_id']) or isinstance(entry['image_id'], str)):
            return f'image_id is {brief(entry["image_id"])}, neither a whole number nor a text'
        if not are_numbers([entry['area']]):
            return f'area is {brief(entry["area"])}, not a number'
        if not are_numbers(entry['bbox'], 4):
            return f'bbox is {brief(entry["bbox"])}, not a list of four numbers'
        if entry.get('iscrowd', 0) not in (0, 1):
            return f'iscrowd is {brief(entry["iscrowd"])}, neither 0 nor 1'
        return None

    def _check_references(self, place: int, entry: Mapping, ids: set[int]) -> None:
        key = entry['id']
        if self.unique and key in ids:
            self._add('annotation-id-twice', f'{self.name}[{place}] has the id of an earlier one', place, entry)
        ids.add(key)
        if self.bare and key == 0:
            self._add('annotation-id-zero', f'{self.name}[{place}]', place, entry)
        if entry['image_id'] not in self.contents.images:
            self._add('image-absent', f'{self.name}[{place}]', place, entry)
        if entry['category_id'] not in self.known:
            self._add('category-unknown', f'category_id is {entry["category_id"]}', place, entry)

    def _is_read(self, entry: Mapping) -> bool:
        """Whether MMDetection takes an object into training at all, wherever it lies."""
        width, height = entry['bbox'][2:]
        whole = entry['area'] > 0 and width >= 1 and height >= 1
        return whole and not entry.get('ignore') and entry['category_id'] in self.meant

    def _check_mask(self, entry: Mapping) -> None:
        place, mask = self.places[-1], entry.get('segmentation')
        if not mask and isinstance(mask, list | dict | None):
            self._add('mask-missing', f'segmentation is {brief(mask)}', place, entry)
        elif isinstance(mask, dict):
            self._check_rle(place, entry, mask)
        elif not isinstance(mask, list) or not all(map(are_numbers, mask)):
            text = f'segmentation {brief(mask)} is neither a list of lists of numbers nor an RLE'
            self._add('entry-malformed', text, place, entry)
        else:
            self._check_polygons(place, entry, mask)

    def _check_rle(self, place: int, entry: Mapping, rle: Mapping) -> None:
        image = self.contents.images[entry['image_id']]
        try:
            runs, size = rle_runs(rle)
        except FormatError as error:
            return self._add('rle-broken', str(error), place, entry)
        if size != (image.height, image.width):
            text = f'size {list(size)}, the image has [{image.height}, {image.width}]'
            self._add('rle-size', text, place, entry)
        elif not runs[1::2].any():
            self._add('mask-empty', 'every run of ones is empty', place, entry)
        elif self.use.polygons_alone and not entry.get('iscrowd'):
            self._add('rle-ignored', 'its mask is an RLE', place, entry)

    def _check_polygons(self, place: int, entry: Mapping, polygons: Sequence[Sequence[float]]) -> None:
        whole = [part for part in polygons if is_whole_polygon(part)]
        # pycocotools takes four numbers that come first for a box, and every other part with them.
        if not whole or not is_whole_polygon(polygons[0]):
            counts = ', '.join(str(len(part)) for part in polygons[:9])
            return self._add('polygon-short', f'{counts} numbers', place, entry)
        if len(whole) < len(polygons):
            counts = [len(part) for part in polygons if not is_whole_polygon(part)]
            self._add('polygon-part-short', f'{counts[0]} numbers', place, entry)
        self.parts += whole
        self.owners += [len(self.sound) - 1] * len(whole)
        self.corners += sum(map(len, whole))
        if self.corners > CORNERS_AT_ONCE:
            self._measure_polygons()

    def _measure_polygons(self) -> None:
        """Judges where the polygons lie that were gathered, and forgets them."""
        if not self.parts:
            return
        flat = _flatten(self.parts, self.corners)
        starts = np.cumsum([0, *(len(part) // 2 for part in self.parts[:-1])])
        owners, first = np.unique(self.owners, return_index=True)
        low, high = (  # (parts, 2) as x, y
            np.stack([extreme.reduceat(flat[axis::2], starts) for axis in (0, 1)], axis=1)
            for extreme in (np.minimum, np.maximum)
        )
        sides = self._sides(self.owners)
        finite = np.isfinite(low).all(1) & np.isfinite(high).all(1)
        over = np.maximum(-low, high - sides).max(1)
        # Farther out than the image is long is no slip, and pycocotools takes memory by the length of an edge.
        outside = ((low > sides + EDGE) | (high < -EDGE)).any(1) | (over > sides.max(1))
        lengths = outlines(flat, starts)
        for kind, parts, text in (
            (
                'polygon-endless',
                finite & ~outside & (lengths > MAX_OUTLINE),
                lambda part: f'its edges are {lengths[part]:,.0f} pixels long',
            ),
            ('not-finite', ~finite, lambda part: 'a polygon with a coordinate that is none'),
            ('polygon-outside', finite & outside, lambda part: self._extent(part, low, high, sides)),
            (
                'polygon-over-edge',
                finite & ~outside & (over > EDGE),
                lambda part: f'by {over[part]:.4g} pixels',
            ),
        ):
            guilty = np.logical_or.reduceat(parts, first)
            for owner, part in zip(owners[guilty], first[guilty], strict=True):
                part += int(np.flatnonzero(parts[part:])[0])
                self._add(kind, text(part), self.places[owner], self.sound[owner])
        self.parts, self.owners, self.corners = [], [], 0

    @staticmethod
    def _extent(part: int, low: np.ndarray, high: np.ndarray, sides: np.ndarray) -> str:
        (left, top), (right, bottom), (width, height) = low[part], high[part], sides[part]
        return f'from ({left:.6g}, {top:.6g}) to ({right:.6g}, {bottom:.6g}), the image is {width:.0f} x {height:.0f}'

    def _sides(self, numbers: Sequence[int]) -> np.ndarray:
        """(n, 2) of width and height of the images that sound annotations are of."""
        images = self.contents.images
        entries = (images[self.sound[number]['image_id']] for number in numbers)
        sides = np.fromiter(chain.from_iterable((e.width, e.height) for e in entries), np.float64)
        return sides.reshape(-1, 2)

    def _check_boxes(self) -> None:
        contents, sound = self.contents, self.sound
        boxes = np.array([entry['bbox'] for entry in sound], np.float64).reshape(-1, 4)
        start, size = boxes[:, :2], boxes[:, 2:]
        sides = self._sides(range(len(sound)))
        area = np.array([entry['area'] for entry in sound], np.float64)
        negative = (size < 0).any(1)
        tiny = ~negative & (size < 1).any(1)
        outside = ~negative & ~tiny & ((start >= sides) | (start + size <= 0)).any(1)
        over = np.maximum(-start, start + size - sides).max(1, initial=-np.inf)
        seen = ~(negative | tiny | outside)
        empty = seen & (area <= 0)
        meant = np.array([entry['category_id'] in self.meant for entry in sound], bool)
        for kind, guilty, text in (
            ('box-negative', negative, self._box),
            ('box-tiny', tiny, self._box),
            ('box-outside', outside, self._box_in),
            ('box-over-edge', seen & (over > EDGE), self._box_in),
            ('area-empty', empty, lambda entry: f'area {entry["area"]:g}'),
        ):
            for number in np.flatnonzero(guilty & meant):
                self._add(kind, text(sound[number]), self.places[number], sound[number])
        contents.image_ids = [entry['image_id'] for entry in sound]
        contents.category_ids = np.array([entry['category_id'] for entry in sound], np.int64)
        contents.is_crowd = np.array([bool(entry.get('iscrowd')) for entry in sound], bool)
        ignored = np.array([bool(entry.get('ignore')) for entry in sound], bool)
        contents.is_used = seen & ~empty & ~ignored

    def _box(self, entry: Mapping) -> str:
        return f'bbox {entry["bbox"]}'

    def _box_in(self, entry: Mapping) -> str:
        image = self.contents.images[entry['image_id']]
        return f'bbox {entry["bbox"]}, the image is {image.width} x {image.height}'


def _flatten(parts: Sequence[Sequence[float]], count: int) -> np.ndarray:
    """All numbers of all parts in a row; NaN for those that nothing should be computed with."""
    try:
        flat = np.fromiter(chain.from_iterable(parts), np.float64, count)
    except OverflowError:  # a whole number beyond 10^308
        flat = np.fromiter((v if is_finite(v) else np.nan for v in chain.from_iterable(parts)), np.float64, count)
    flat[~(np.abs(flat) < LIMIT)] = np.nan
    return flat
