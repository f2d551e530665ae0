"""Whether the classes of a config are those of its annotation files, and anything is left to learn."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from itertools import compress
from pathlib import Path

import numpy as np

from fishnet_mmdet.preflight.contents import Contents
from fishnet_mmdet.preflight.findings import Finding
from fishnet_mmdet.preflight.kinds import KINDS
from fishnet_mmdet.preflight.loaders import Loader

SERVER_FIX = (
    'check that this is the right file. Test data without annotations cannot be scored; to write results for a server, '
    "set format_only=True and outfile_prefix='...' in the evaluator"
)

MOST_LISTED = 40
"""Names of classes, of file and config together, up to which a finding about a missing class lists all of them."""


def check_classes(contents: Contents, classes: Sequence[str], where: str, ignored: Sequence[str]) -> Iterator[Finding]:
    """Checks that an annotation file has every class of a config, in the same order.

    MMDetection numbers labels by the annotation file and names them by the config. If the two differ, labels are
    shifted or have wrong names, and there is no message. Categories that only the file has are left out: that is how
    MMDetection trains on a subset of the classes.

    Args:
        contents: The annotation file.
        classes: The classes of the config.
        where: The splits that use both.
        ignored: Categories that are left out on purpose.
    """
    file, names = str(contents.path), list(dict.fromkeys(name for _, name in contents.categories))
    ids, numbers = np.unique(contents.objects.category_ids, return_counts=True)
    counts = dict(zip(ids.tolist(), numbers.tolist(), strict=True))
    unknown = dict.fromkeys((name for name in names if name not in (*classes, *ignored)), 0)
    for key, name in contents.categories:
        if name in unknown:
            unknown[name] += counts.get(key, 0)
    missing = [name for name in classes if name not in names]
    lists = f'\n  annotations: {names}\n  config:      {list(classes)}'
    if missing:
        # Of many names, the ones that differ say more than all of them.
        shown = lists if len(names) + len(classes) <= MOST_LISTED else ''
        yield Finding('classes-differ', where, file, f'{_differences(classes, [*unknown], missing)}{shown}')
        return
    # A name that is listed twice is another finding, and which of the two counts is not known.
    is_unique = len(names) == len(contents.categories)
    if is_unique and [name for name in names if name in classes] != list(classes):
        yield Finding('classes-order', where, file, f'the same names in a different order{lists}')
    if left_out := [f'{name} ({count} annotations)' for name, count in unknown.items() if count]:
        yield Finding('category-left-out', where, file, ', '.join(left_out))
    if unused := [name for name, count in unknown.items() if not count]:
        yield Finding('category-unused', where, file, ', '.join(unused))


def _differences(classes: Sequence[str], unknown: Sequence[str], missing: Sequence[str]) -> str:
    parts = ['no class of the config is in the file'] * (len(missing) == len(classes))
    parts += [f'classes of the annotations that the config does not have: {unknown}'] * bool(unknown)
    parts += [f'classes of the config that the annotations do not have: {missing}'] * bool(missing)
    near = {name: difflib.get_close_matches(name, unknown, 1) for name in missing}
    parts += [f'is {name!r} meant to be {match[0]!r}?' for name, match in near.items() if match]
    return '; '.join(parts)


def classes_match(contents: Contents, classes: Sequence[str], ignored: Sequence[str]) -> bool:
    """Whether `check_classes` has nothing to say that would stop a run."""
    return not any(KINDS[finding.kind].stops for finding in check_classes(contents, classes, '', ignored))


def check_classes_of_splits(loaders: Sequence[Loader], several: Sequence[str]) -> Iterator[Finding]:
    """Checks that all loaders have the same classes.

    Args:
        loaders: All loaders.
        several: Splits in which each data set has an evaluator of its own, and so may have classes of its own.
    """
    varied = {split for split in several if len({it.classes for it in loaders if split in it.splits}) > 1}
    compared = [loader for loader in loaders if varied.isdisjoint(loader.splits)]
    for other in compared[1:]:
        first = compared[0]
        if first.classes != other.classes:
            odd = sorted(set(first.classes) ^ set(other.classes)) or 'the same names in a different order'
            text = f'{first.where} and {other.where}: {odd}'
            yield Finding('classes-of-splits', f'{first.where}, {other.where}', '', text)


def check_remaining(contents: Contents, loader: Loader, classes_fit: bool) -> Iterator[Finding]:
    """Checks that objects and images are left without crowds, unused classes and filtered images.

    Args:
        contents: The annotation file of the loader.
        loader: The loader.
        classes_fit: Whether the classes of both match; if not, all classes count.
    """
    objects = contents.objects
    wanted = [key for key, name in contents.categories if name in loader.classes or not classes_fit]
    of_classes = np.isin(objects.category_ids, wanted)
    if not (of_classes & objects.is_used & ~objects.is_crowd).any():
        yield _no_objects(contents, loader, of_classes)
    elif not loader.selection.take(contents, of_classes):
        yield _all_filtered(contents, loader, of_classes)


def _no_objects(contents: Contents, loader: Loader, of_classes: np.ndarray) -> Finding:
    objects = contents.objects
    crowds, left_out = int(objects.is_crowd.sum()), int((~objects.is_used).sum())
    text = (
        f'{len(of_classes)} annotations: {crowds} crowds, {left_out} empty, tiny, outside or ignored, '
        f'{int((~of_classes).sum())} of classes that the config leaves out'
    )
    is_for_server = not len(of_classes) and 'train' not in loader.splits
    return Finding('no-objects', loader.where, str(loader.file), text, fix=SERVER_FIX if is_for_server else None)


def _all_filtered(contents: Contents, loader: Loader, of_classes: np.ndarray) -> Finding:
    images, filtering = contents.images.values(), loader.selection.filtering
    least, annotated = filtering.get('min_size', 0), len({*compress(contents.objects.image_ids, of_classes)})
    small = sum(min(image.width, image.height) < least for image in images)
    text = (
        f'{len(images)} images: {len(images) - annotated} without an annotation, {small} with a side below '
        f'min_size={least}; filter_cfg={dict(filtering)}, indices={loader.selection.indices}'
    )
    return Finding('all-filtered', loader.where, str(loader.file), text)


def check_each_class(files: Mapping[Path, Contents], loaders: Sequence[Loader]) -> Iterator[Finding]:
    """Names classes whose objects are all left out, and in training those that have none.

    Args:
        files: Annotation files by path.
        loaders: All loaders that are read together, such as those of training.
    """
    splits = list(dict.fromkeys(split for loader in loaders for split in loader.splits))
    empty = []
    for name in loaders[0].classes:
        count = crowds = left_out = 0
        for loader in loaders:
            objects = files[loader.file].objects
            own = np.isin(objects.category_ids, [k for k, n in files[loader.file].categories if n == name])
            count += int(own.sum())
            crowds += int((objects.is_crowd & objects.is_used)[own].sum())
            left_out += int((~objects.is_used)[own].sum())
        if count and count == crowds + left_out:
            empty.append(f'{name} ({count} annotations: {crowds} crowds, {left_out} empty, tiny, outside or ignored)')
        elif not count and 'train' in splits:
            empty.append(f'{name} (no annotation)')
    if empty:
        paths = ', '.join(dict.fromkeys(str(loader.file) for loader in loaders))
        yield Finding('class-without-objects', ', '.join(splits), paths, ', '.join(empty))
