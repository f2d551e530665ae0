"""Finds annotation files of COCO in a folder, what each is for, and the folder that its images lie in."""

import mmap
import os
import re
from collections.abc import Sequence
from pathlib import Path

from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.base.folders import walk
from fishnet_mmdet.project.own_data.split import MARK

ROLES = {
    'train': 'train', 'training': 'train',
    'val': 'val', 'valid': 'val', 'validation': 'val', 'dev': 'val', 'minival': 'val',
    'test': 'test', 'testing': 'test',
}  # fmt: skip
"""What words in the name of a file or folder stand for."""

SAMPLE = 50
"""Images of a file that are looked for in each folder."""


def coco_files(root: Path) -> list[Path]:
    """The annotation files of COCO format in a folder, at any depth, with boxes or without any object.

    Files of an earlier call are left out: the user's files may have changed since. Files of keypoints are left out if
    there are others: COCO has one of each for the same images.
    """
    found = [
        path / name
        for path, names in walk(root)
        for name in names
        if name.lower().endswith('.json') and _has(path / name, (b'"images"', b'"categories"', b'"annotations"'))
    ]
    other = (b'"segments_info"', MARK.encode())
    found = [path for path in found if not any(_has(path, (word,)) for word in other)]
    found = [path for path in found if _has(path, (b'"bbox"',)) or _has_no_object(path)]
    return [path for path in found if not _has(path, (b'"keypoints"',))] or found


def _has_no_object(path: Path) -> bool:
    """Whether the list of annotations is empty."""
    with path.open('rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return re.search(rb'"annotations"\s*:\s*\[\s*\]', content) is not None


def _has(path: Path, words: Sequence[bytes]) -> bool:
    """Whether a file contains every one of the words. Nothing is parsed, so files of any size are quick."""
    try:
        with path.open('rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return all(content.find(word) >= 0 for word in words)
    except (OSError, ValueError):
        # A ValueError is an empty file.
        return False


def role_of(path: Path, root: Path) -> str | None:
    """What a file or folder is for, by its name or else by the nearest folder below `root` that says so.

    Returns:
        'train', 'val', 'test', or None.
    """
    inside = path.relative_to(root).parts if path.is_relative_to(root) else path.parts[-2:]
    for name in reversed(inside):
        roles = {ROLES[word] for word in re.split(r'[\W\d_]+', name.lower()) if word in ROLES}
        if len(roles) == 1:
            return roles.pop()
    return None


def choose_files(root: Path, train: Path | str | None, val: Path | str | None) -> tuple[Path | None, Path | None]:
    """Chooses the annotation files.

    Args:
        root: The data folder.
        train: The file to train on, if the user names it.
        val: The file to validate on, likewise.

    Returns:
        The training file and the validation file; None for the latter if the training
        file has to be divided, for both if there is no file.

    Raises:
        UserError: A file that is named does not exist, or there is more than one that it could be.
    """
    if val and not train:
        raise UserError(f'--val {val} needs --train FILE')
    if train:
        return named_file(train, root), named_file(val, root) if val else None
    found = coco_files(root)
    if len(found) <= 1:
        return (found[0] if found else None), None
    by_role = {role: [path for path in found if role_of(path, root) == role] for role in ('train', 'val', 'test')}
    held_out = by_role['val'] or by_role['test']
    unclear = [path for path in found if role_of(path, root) is None]
    if len(by_role['train']) == 1 and len(held_out) <= 1 and not unclear:
        return by_role['train'][0], (held_out or [None])[0]
    names = ', '.join(str(path.relative_to(root)) for path in found[:8]) + (', ...' if len(found) > 8 else '')
    raise UserError(
        f'{root} holds {len(found)} annotation files, and their names do not say which one is for what: {names}. Name '
        'them: --train FILE --val FILE'
    )


def named_file(path: Path | str, root: Path) -> Path:
    """A file that the user named, from the current folder or from the data folder.

    Raises:
        UserError: There is no such file.
    """
    for candidate in (Path(path), root / path):
        if candidate.is_file():
            return candidate
    raise UserError(f'{path}: no such file, neither here nor in {root}')


def image_folder(root: Path, annotations: Path, names: Sequence[str], split: str) -> Path:
    """Finds the folder that the file names of an annotation file start from.

    Args:
        root: The data folder.
        annotations: The annotation file.
        names: File names of its images.
        split: 'train' or 'val'. Folders of both may hold files of the same names.

    Raises:
        UserError: No folder holds any of them.
    """
    sample = names[:: max(1, len(names) // SAMPLE)]
    folders = dict.fromkeys([*(path for path, _ in walk(root)), annotations.parent])
    hits = {folder: sum(os.path.isfile(folder / name) for name in sample) for folder in folders}
    role = role_of(annotations, root) or split

    def rank(folder: Path) -> tuple:
        return hits[folder], role_of(folder, root) == role, folder == annotations.parent, -len(folder.parts)

    best = max(hits, key=rank)
    if sample and not hits[best]:
        fix = 'name the folder that holds the images with --data'
        if '\\' in sample[0]:
            fix = 'its names have backslashes, which are no folders here: write / for them'
        raise UserError(
            f'{annotations}: none of its images, such as {sample[0]!r}, lies in {root} or in a folder below it; {fix}'
        )
    return best
