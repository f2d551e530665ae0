"""Checks one annotation file, entry by entry; no image is opened here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fishnet_mmdet.base.startup import collector_paused
from fishnet_mmdet.data.coco_fields import CATEGORY, entry_problem, image_problem, read_coco
from fishnet_mmdet.data.json_files import FormatError, brief
from fishnet_mmdet.preflight.contents import Contents, ImageEntry, Use
from fishnet_mmdet.preflight.findings import Finding, Source
from fishnet_mmdet.preflight.objects import FileContext, check_objects


def read_annotations(path: Path, where: str, use: Use | None = None) -> Contents:
    """Reads an annotation file and checks every entry.

    Args:
        path: The file.
        where: The splits that read it.
        use: What it is needed for; by default for training with masks.

    Returns:
        What it holds and what is wrong with it. A file that cannot be read is a finding too.
    """
    source = Source(where, path)
    with collector_paused():
        try:
            data = read_coco(path)
        except FormatError as error:
            return Contents(path, [source.finding('file-broken', str(error).removeprefix(f'{path}: '))])
        return _check_content(data, use or Use(), source)


def _check_content(data: Mapping, use: Use, source: Source) -> Contents:
    problems = [image_problem(entry) for entry in data['images']]
    images = _valid_images(data['images'], problems)
    categories = _valid_categories(data['categories'])
    findings = [
        *_check_categories(data, source),
        *_check_images(data['images'], problems, images, source),
    ]
    entries = data.get('annotations', [])
    if use.panoptic:
        findings += _check_segment_lists(entries, source)
        entries = list(_segments(entries))
    objects, found = check_objects(entries, FileContext(source, use, images, categories))
    return Contents(source.path, findings + found, True, images, categories, objects)


def _valid_categories(entries: Sequence) -> list[tuple[int, str]]:
    """Id and name of each category; of those that share an id, only the first."""
    names: dict[int, str] = {}
    for entry in entries:
        if not entry_problem(entry, CATEGORY):
            names.setdefault(entry['id'], entry['name'])
    return [*names.items()]


def _check_categories(data: Mapping, source: Source) -> Iterator[Finding]:
    ids: dict[int, object] = {}
    names: dict[str, object] = {}
    for place, entry in enumerate(data['categories']):
        if problem := entry_problem(entry, CATEGORY):
            yield source.finding('file-broken', f'categories[{place}]: {problem}')
        elif entry['id'] in ids or entry['name'] in names:
            same = (ids.get(entry['id']), names.get(entry['name']), entry['id'])
            text = f'categories[{place}]: id {entry["id"]}, name {entry["name"]!r}'
            yield replace(source.finding('category-twice', text), fix=_unused_category(data, same))
        else:
            ids[entry['id']] = names[entry['name']] = entry['id']


def _unused_category(data: Mapping, keys: Sequence) -> str | None:
    """How to solve that categories have the same name, if exactly one of them is used; None otherwise."""
    entries = [entry for entry in data.get('annotations', []) if isinstance(entry, dict)]
    used = {key for key in keys if any(entry.get('category_id') == key for entry in entries)}
    unused = [key for key in dict.fromkeys(keys) if key is not None and key not in used]
    if not used or not unused:
        return None
    return f'category {unused[0]} has no annotation: delete it from categories'


def _valid_images(entries: Sequence, problems: Sequence[str | None]) -> dict[int | str, ImageEntry]:
    """Images by id; of those that share an id, only the first."""
    images: dict[int | str, ImageEntry] = {}
    for place, (entry, problem) in enumerate(zip(entries, problems, strict=True)):
        if not problem and entry['id'] not in images:
            images[entry['id']] = ImageEntry(place, entry['file_name'], int(entry['width']), int(entry['height']))
    return images


def _check_images(
    entries: Sequence, problems: Sequence[str | None], images: Mapping[int | str, ImageEntry], source: Source
) -> Iterator[Finding]:
    texts = sum(isinstance(entry, dict) and isinstance(entry.get('id'), str) for entry in entries)
    if 0 < texts < len(entries):
        yield source.finding('file-broken', f'{texts} of {len(entries)} image ids are texts; all or none must be')
    for place, (entry, problem) in enumerate(zip(entries, problems, strict=True)):
        if problem:
            yield source.of_entry('entry-malformed', f'images[{place}]: {problem}', ('images', place))
        elif (first := images[entry['id']]).place != place:
            yield source.finding('image-id-twice', f'{first.name!r} and {entry["file_name"]!r}', image=entry['id'])
    first_ids: dict[str, int | str] = {}
    for key, image in images.items():
        if (first := first_ids.setdefault(image.name, key)) != key:
            yield source.finding('image-twice', f'{image.name!r} is image {first} too', image=key)
    if not entries:
        yield source.finding('no-images', 'images is an empty list')


def _has_segments(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get('segments_info'), list)


def _check_segment_lists(entries: Sequence, source: Source) -> Iterator[Finding]:
    for place, entry in enumerate(entries):
        if not _has_segments(entry):
            # No place is given: cleaning leaves only images out of panoptic files.
            text = f'annotations[{place}] is {brief(entry)}, without a list segments_info'
            yield source.finding('entry-malformed', text)


def _segments(entries: Sequence) -> Iterator[object]:
    """The segments of panoptic annotations, each with the id of its image, as if they were annotations."""
    for entry in filter(_has_segments, entries):
        for segment in entry['segments_info']:
            yield {**segment, 'image_id': entry.get('image_id')} if isinstance(segment, dict) else segment
