"""Training without bad entries: annotation files without them are written to the work dir; the user's files stay."""

import json
from collections.abc import Collection, Sequence
from math import inf
from pathlib import Path

from mmengine.config import Config

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.data.coco_fields import key_in
from fishnet_mmdet.data.json_files import read_json
from fishnet_mmdet.preflight.findings import Finding, PreflightError, Report
from fishnet_mmdet.preflight.kinds import KINDS
from fishnet_mmdet.preflight.loaders import coco_loaders

TRAIN = 'train'


def drop_bad(cfg: Config, report: Report) -> list[Finding]:
    """Writes annotation files without the bad entries, and makes the training data of a config use them.

    They are in WORK_DIR/preflight, with `dropped.txt`, which lists what was left out. Validation and test data stay as
    they are: figures on a part of them could not be compared with others.

    Args:
        cfg: A whole config; it is changed as by `use_cleaned`.
        report: What was found in its data.

    Returns:
        What was left out.

    Raises:
        PreflightError: There are errors that leaving training data out cannot fix, or the files cannot be written.
    """
    bad = {f for f in report.errors if f.can_be_skipped}
    Report([f for f in report.findings if f not in bad], report.checked, ignored=report.ignored).raise_errors()
    renumbered = {f.entry[0] for f in bad if KINDS[f.kind].renumbers}
    dropped = [f for f in report.findings if f in bad and not KINDS[f.kind].renumbers]
    try:
        _write(cfg, dropped, renumbered)
    except OSError as error:
        text = f'{_folder(cfg)} cannot be written to: {error.strerror}. Choose another folder with --work-dir'
        raise PreflightError(text) from error
    use_cleaned(cfg)
    return dropped


def _write(cfg: Config, dropped: Sequence[Finding], renumbered: Collection[str]) -> None:
    """Writes the list of what is left out, and an annotation file for each training data set.

    Args:
        cfg: A whole config.
        dropped: What is left out.
        renumbered: Annotation files whose annotations are numbered again: nothing refers to their ids.
    """
    folder = _folder(cfg)
    folder.mkdir(parents=True, exist_ok=True)
    for number, loader in enumerate(coco_loaders(cfg, [TRAIN])):
        places = {str(path) for path in (loader.file, loader.folder, loader.maps) if path}
        entries = {f.entry[1:] for f in dropped if f.entry[0] == str(loader.file) and f.file in places}
        _write_cleaned(loader.file, _cleaned(cfg, number), entries, str(loader.file) in renumbered)
    lines = [f'{f.kind}\t{f.file}\t{f}' for f in dropped]
    write_atomically(folder / 'dropped.txt', ''.join(f'{line}\n' for line in lines).encode())


def use_cleaned(cfg: Config) -> None:
    """Makes the training data of a config use the files that `drop_bad` writes.

    Their names follow from the config, so that every rank uses the same files.
    """
    for number, loader in enumerate(coco_loaders(cfg, [TRAIN])):
        for node in loader.nodes:
            node['ann_file'] = str(_cleaned(cfg, number))


def _folder(cfg: Config) -> Path:
    return Path(cfg.work_dir).resolve() / 'preflight'


def _cleaned(cfg: Config, number: int) -> Path:
    return _folder(cfg) / f'{TRAIN}_{number}.json'


def _write_cleaned(source: Path, target: Path, entries: Collection[tuple[str, int]], renumbers: bool) -> None:
    """Writes an annotation file without some entries, and without the annotations of images that are left out.

    Args:
        source: The user's file.
        target: The file to write.
        entries: List and index of the entries that are left out.
        renumbers: Whether to number the annotations again, from 1.
    """
    if not entries and not renumbers:
        # Both are the same file for a config that an earlier run wrote.
        if source != target:
            write_atomically(target, source.read_bytes())
        return
    data = read_json(source, inf)
    images = {place for name, place in entries if name == 'images'}
    annotations = {place for name, place in entries if name == 'annotations'}
    kept = [entry for place, entry in enumerate(data['images']) if place not in images]
    gone = {key_in(data['images'][place], 'id') for place in images} - {key_in(entry, 'id') for entry in kept} - {None}
    data['images'] = kept
    data['annotations'] = [
        entry
        for place, entry in enumerate(data.get('annotations', []))
        if place not in annotations and key_in(entry, 'image_id') not in gone
    ]
    if renumbers:
        data['annotations'] = [
            {**entry, 'id': number} if isinstance(entry, dict) else entry
            for number, entry in enumerate(data['annotations'], 1)
        ]
    write_atomically(target, json.dumps(data).encode())
