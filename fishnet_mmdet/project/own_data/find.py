"""Finds what trains and what validates in a data folder."""

from dataclasses import dataclass
from pathlib import Path

from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.project.choice import Choice
from fishnet_mmdet.project.own_data.convert import converted
from fishnet_mmdet.project.own_data.facts import Facts, facts_of
from fishnet_mmdet.project.own_data.files import choose_files, image_folder
from fishnet_mmdet.project.own_data.split import SEED, split_annotations


@dataclass(frozen=True)
class Part:
    """What trains, or what validates.

    Attributes:
        facts: What its annotation file holds.
        images: The folder that the file names start from.
    """

    facts: Facts
    images: Path


@dataclass(frozen=True)
class OwnData:
    """The data in a folder.

    Attributes:
        root: The folder.
        train: What trains.
        val: What validates.
        notes: Which files that is, and how they were found or made.
    """

    root: Path
    train: Part
    val: Part
    notes: tuple[Choice, ...]


def find_data(
    root: Path, config: Path, train: Path | str | None = None, val: Path | str | None = None, overwrite: bool = False
) -> OwnData:
    """Finds annotation files and their images. One file is divided; YOLO and Pascal VOC are converted to COCO.

    Args:
        root: The data folder.
        config: The config that will read the data. Files that are made lie beside it: `my_annotations/` for `my.py`.
        train: COCO file to train on. Default: found by its name.
        val: COCO file to validate on. Default: found by its name, or a seeded fifth of the training images.
        overwrite: Whether files of an earlier call may be replaced.

    Raises:
        UserError: There are no data, it is not clear which, or a file may not be replaced.
    """
    if root.is_file():
        raise UserError(f'--data {root} is a file: name its folder, and the file with --train if there are others')
    if not root.is_dir():
        raise UserError(f'--data {root}: no such folder')
    made = config.parent / f'{config.stem}_annotations'
    train_file, val_file = choose_files(root, train, val)
    if train_file is None:
        return _converted(root, made, overwrite)
    if val_file is None:
        return _divided(root, _part(root, train_file, 'train'), made, overwrite, [])
    splits = {'train': _part(root, train_file, 'train'), 'val': _part(root, val_file, 'val')}
    notes = (
        Choice(name, f'{part.facts.path}', f'{len(part.facts.names):,} images in {part.images}')
        for name, part in splits.items()
    )
    return OwnData(root, splits['train'], splits['val'], tuple(notes))


def _part(root: Path, path: Path, split: str) -> Part:
    facts = facts_of(path)
    return Part(facts, image_folder(root, path, facts.names, split))


def _converted(root: Path, made: Path, overwrite: bool) -> OwnData:
    found = converted(root, made, overwrite)
    parts = [Part(facts_of(path), images) for _, path, images in found]
    notes = [
        Choice('annotations', f'{path}', f'converted from {kind}{_ignored(part.facts)}')
        for (kind, path, _), part in zip(found, parts, strict=True)
    ]
    if len(parts) == 1:
        return _divided(root, parts[0], made, overwrite, notes)
    return OwnData(root, parts[0], parts[1], tuple(notes))


def _ignored(facts: Facts) -> str:
    count = sum(facts.counts.values()) - len(facts.sides)
    return f'; {count:,} objects are marked difficult: they count neither in the loss nor in AP' if count else ''


def _divided(root: Path, whole: Part, made: Path, overwrite: bool, notes: list[Choice]) -> OwnData:
    """Divides the only annotation file, and adds a note."""
    path = whole.facts.path
    files = split_annotations(path, made, overwrite)
    train, val = (Part(facts_of(file), whole.images) for file in files)
    if files[0] == files[1]:
        note = Choice('validation', 'on the training images', f'{path} has too few images to hold one out')
    else:
        counts = f'{len(train.facts.names):,} and {len(val.facts.names):,}'
        note = Choice('split', f'{files[0]} and {files[1]}', f'{path} alone, by image, seed {SEED}: {counts} images')
    return OwnData(root, train, val, (*notes, note))
