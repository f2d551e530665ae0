"""Whether the classes of a config are those of its annotation files, and anything is left to learn."""

import difflib
from collections.abc import Iterator, Sequence
from itertools import compress

import numpy as np

from fishnet_mmdet.preflight.contents import Contents
from fishnet_mmdet.preflight.findings import Finding
from fishnet_mmdet.preflight.loaders import Loader


def check_classes(contents: Contents, classes: Sequence[str], where: str, ignored: Sequence[str]) -> Iterator[Finding]:
    """Checks that a config and an annotation file have the same classes, in the same order.

    MMDetection numbers labels by the annotation file and names them by the config. If the two differ, labels are
    shifted or have wrong names, and there is no message.

    Args:
        contents: The annotation file.
        classes: The classes of the config.
        where: The splits that use both.
        ignored: Categories that are left out on purpose.
    """
    file, names = str(contents.path), [name for _, name in contents.categories]
    used = set(np.unique(contents.objects.category_ids).tolist())
    unknown = [name for name in names if name not in classes and name not in ignored]
    unused = [name for key, name in contents.categories if name in unknown and key not in used]
    missing = [name for name in classes if name not in names]
    lists = f'\n  annotations: {names}\n  config:      {list(classes)}'
    if unknown != unused or missing:
        yield Finding('classes-differ', where, file, f'{_differences(classes, unknown, missing)}{lists}')
    elif [name for name in names if name in classes] != list(classes):
        yield Finding('classes-order', where, file, f'the same names in a different order{lists}')
    elif unused:
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
    return all(finding.kind == 'category-unused' for finding in check_classes(contents, classes, '', ignored))


def check_classes_of_splits(loaders: Sequence[Loader]) -> Iterator[Finding]:
    """Checks that all loaders have the same classes."""
    for other in loaders[1:]:
        first = loaders[0]
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
    objects, images = contents.objects, contents.images.values()
    wanted = [key for key, name in contents.categories if name in loader.classes or not classes_fit]
    of_classes = np.isin(objects.category_ids, wanted)
    if not (of_classes & objects.is_used & ~objects.is_crowd).any():
        crowds, left_out = int(objects.is_crowd.sum()), int((~objects.is_used).sum())
        text = (
            f'{len(of_classes)} annotations: {crowds} crowds, {left_out} empty, tiny, outside or ignored, '
            f'{int((~of_classes).sum())} of classes that the config leaves out'
        )
        yield Finding('no-objects', loader.where, str(loader.file), text)
    elif not loader.selection.take(contents, of_classes):
        filtering = loader.selection.filtering
        least, annotated = filtering.get('min_size', 0), len({*compress(objects.image_ids, of_classes)})
        small = sum(min(image.width, image.height) < least for image in images)
        text = (
            f'{len(images)} images: {len(images) - annotated} without an annotation, {small} with a side below '
            f'min_size={least}; filter_cfg={dict(filtering)}, indices={loader.selection.indices}'
        )
        yield Finding('all-filtered', loader.where, str(loader.file), text)
