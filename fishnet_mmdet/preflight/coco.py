"""The COCO data of a config: which files its loaders and evaluators name, and every check of them."""

import difflib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from rich.progress import Progress

from fishnet_mmdet.base.config_nodes import moving_variable
from fishnet_mmdet.data.json_files import MAX_BYTES
from fishnet_mmdet.preflight.annotations import read_annotations
from fishnet_mmdet.preflight.classes import (
    check_classes,
    check_classes_of_splits,
    check_each_class,
    check_remaining,
    classes_match,
)
from fishnet_mmdet.preflight.contents import Contents, Use
from fishnet_mmdet.preflight.evaluators import (
    Evaluator,
    check_evaluator_configs,
    check_same_images,
    coco_evaluators,
    has_an_evaluator_for_each,
    loaders_of,
)
from fishnet_mmdet.preflight.findings import Finding
from fishnet_mmdet.preflight.image_checks import check_images
from fishnet_mmdet.preflight.loaders import Loader, check_loader_configs, coco_loaders

COCO_TREE = """\
  {root}
  |-- annotations/instances_train2017.json, instances_val2017.json
  |-- train2017/*.jpg
  `-- val2017/*.jpg"""

PANOPTIC_TREE = """\
  {root}
  |-- annotations/panoptic_train2017.json, panoptic_val2017.json
  |-- annotations/panoptic_train2017/*.png, annotations/panoptic_val2017/*.png (zipped in COCO's own download)
  |-- train2017/*.jpg
  `-- val2017/*.jpg"""

COCO_FILE = re.compile(r'(instances|panoptic|image_info|person_keypoints)_\w+20\d\d\.json')
"""Names of COCO's own annotation files."""

DEMO = (
    'Without COCO: `make demo` in a clone, or `fishnet-mmdet demo-data` and `fishnet-mmdet train '
    'mask_rcnn_fishnet_demo`, trains on drawn images.'
)
ELSEWHERE = (
    'Correct data_root, ann_file or data_prefix of the loader, of which this path is made, and ann_file of each '
    'evaluator. A relative path starts from the folder in which the command is run.'
)


@dataclass(frozen=True)
class CocoData:
    """The COCO data of a config, with each annotation file read once.

    Attributes:
        loaders: The loaders whose files exist.
        evaluators: The evaluators whose files exist.
        files: What their annotation files hold, by path.
        ignored: Categories that are left out on purpose.
    """

    loaders: Sequence[Loader]
    evaluators: Sequence[Evaluator]
    files: Mapping[Path, Contents]
    ignored: Sequence[str]

    @classmethod
    def read(cls, cfg: Config, splits: Sequence[str], progress: Progress) -> 'CocoData':
        """Reads the annotation files that the splits of a config name."""
        loaders = [loader for loader in coco_loaders(cfg, splits) if not _missing(loader)]
        evaluators = [evaluator for evaluator in coco_evaluators(cfg, splits) if evaluator.file.exists()]
        ignored = cfg.get('ignored_classes') or ()
        ignored = (ignored,) if isinstance(ignored, str) else tuple(ignored)
        files, limit = {}, (cfg.get('preflight') or {}).get('max_gib', MAX_BYTES / 2**30)
        for path in dict.fromkeys(user.file for user in (*loaders, *evaluators)):
            reading = [loader for loader in loaders if loader.file == path]
            evaluating = [evaluator for evaluator in evaluators if evaluator.file == path]
            names = dict.fromkeys(split for loader in reading for split in loader.splits)
            where = ', '.join(names) or evaluating[0].where
            size = path.stat().st_size
            if size > limit * 2**30:
                files[path] = _too_large(path, where, size, limit)
                continue
            task = progress.add_task(f'reading {where} annotations ({size / 2**20:.0f} MiB)', total=None)
            files[path] = read_annotations(path, where, _use(reading, evaluating, ignored))
            progress.remove_task(task)
        return cls(loaders, evaluators, files, ignored)

    @property
    def read_loaders(self) -> list[Loader]:
        """The loaders whose annotation file could be read."""
        return [loader for loader in self.loaders if self.files[loader.file].is_read]

    def summary(self) -> list[str]:
        """One line for each loader."""
        return [_summary(self.files[loader.file], loader) for loader in self.read_loaders]

    def class_counts(self) -> dict[str, dict[str, int]]:
        """Number of annotations by split and class name."""
        counts = {}
        for loader in self.read_loaders:
            contents = self.files[loader.file]
            ids, numbers = np.unique(contents.objects.category_ids, return_counts=True)
            by_id = dict(zip(ids.tolist(), numbers.tolist(), strict=True))
            counts[loader.where] = Counter()
            for key, name in contents.categories:
                counts[loader.where][name] += by_id.get(key, 0)
        return counts


def _too_large(path: Path, where: str, size: int, limit: float) -> Contents:
    text = (
        f'{size / 2**30:.1f} GiB; files above {limit:g} GiB are not checked, nor the images that they list. To check '
        f'it: preflight=dict(max_gib={size // 2**30 + 1})'
    )
    return Contents(path, [Finding('not-checked', where, str(path), text)])


def _summary(contents: Contents, loader: Loader) -> str:
    """The images and annotations of a loader, and how many images it takes."""
    count = len(contents.images)
    taken = len(loader.take(contents))
    selection = loader.selection
    reasons = [f'filter_cfg={dict(selection.filtering)}'] * bool(selection.filtering)
    reasons += [f'indices={selection.indices}'] * (selection.indices is not None)
    some = '' if taken == count else f' ({taken} of them are used: {", ".join(reasons)})'
    return (
        f'{loader.where}: {count} images in {loader.folder or "another file backend"}{some}, '
        f'{len(contents.objects.category_ids)} annotations in {loader.file}'
    )


def _use(loaders: Sequence[Loader], evaluators: Sequence[Evaluator], ignored: Sequence[str]) -> Use:
    """What these loaders and evaluators need an annotation file for."""
    return Use(
        masks=any(loader.pipeline.masks for loader in loaders) or any(evaluator.masks for evaluator in evaluators),
        polygons_only=any(loader.pipeline.polygons_only for loader in loaders),
        evaluated=any(evaluator.scores for evaluator in evaluators),
        stock_metric=any(evaluator.stock_metric for evaluator in evaluators),
        panoptic=any(user.panoptic for user in (*loaders, *evaluators)),
        ignored={name for name in ignored if not any(name in loader.classes for loader in loaders)},
    )


def check_coco(cfg: Config, splits: Sequence[str], data: CocoData, progress: Progress) -> Iterator[Finding]:
    """Runs every check of the COCO data of a config.

    Args:
        cfg: A whole config.
        splits: The splits that will run.
        data: What was read of them.
        progress: Shows how many images are done.
    """
    yield from check_loader_configs(cfg, splits)
    loaders = coco_loaders(cfg, splits)
    yield from _check_loader_paths(cfg, loaders)
    yield from check_evaluator_configs(cfg, splits)
    yield from _check_evaluator_paths(coco_evaluators(cfg, splits), loaders)
    for contents in data.files.values():
        yield from contents.findings
    settings = cfg.get('preflight') or {}
    trusted = [str(Path(folder).resolve()) for folder in settings.get('trusted_folders', ())]
    for loader in data.read_loaders:
        contents = data.files[loader.file]
        yield from check_classes(contents, loader.classes, loader.where, data.ignored)
        yield from _check_remaining(data, loader)
        yield from check_images(contents, loader, trusted, settings.get('images', True), progress)
    yield from check_classes_of_splits(
        data.loaders, [split for split in splits if has_an_evaluator_for_each(cfg, split)]
    )
    yield from _check_objects_of_classes(data, splits)
    yield from _check_evaluators(data)


def _has_labels(data: CocoData, loader: Loader) -> bool:
    """Whether anything reads the objects of a loader."""
    scores = all(e.scores for e in data.evaluators if {*e.splits} & {*loader.splits})
    return scores and bool(data.files[loader.file].images) and loader.pipeline.labels


def _check_objects_of_classes(data: CocoData, splits: Sequence[str]) -> Iterator[Finding]:
    """Checks the classes of all loaders of a split together, once for splits that have the same loaders."""
    done = []
    for split in splits:
        loaders = [loader for loader in data.read_loaders if split in loader.splits and _has_labels(data, loader)]
        fits = all(classes_match(data.files[it.file], it.classes, data.ignored) for it in loaders)
        has_objects = any((o.is_used & ~o.is_crowd).any() for o in (data.files[it.file].objects for it in loaders))
        if loaders and fits and has_objects and loaders not in done:
            done.append(loaders)
            yield from check_each_class(data.files, loaders)


def _check_remaining(data: CocoData, loader: Loader) -> Iterator[Finding]:
    contents = data.files[loader.file]
    if _has_labels(data, loader):
        yield from check_remaining(contents, loader, classes_match(contents, loader.classes, data.ignored))


def _check_evaluators(data: CocoData) -> Iterator[Finding]:
    """Checks each evaluator together with the loaders of its splits."""
    for evaluator in data.evaluators:
        for split in evaluator.splits:
            loaders = loaders_of(evaluator, data.loaders, split)
            if not loaders:
                continue
            yield from check_same_images(evaluator, loaders, data.files)
            contents = data.files[evaluator.file]
            for loader in loaders:
                if loader.file != evaluator.file and contents.is_read:
                    yield from check_classes(contents, loader.classes, evaluator.where, data.ignored)


def _missing(loader: Loader) -> list[Path]:
    """The files and folders of a loader that do not exist."""
    return [path for path in (loader.file, loader.folder, loader.maps) if path and not path.exists()]


def _check_loader_paths(cfg: Config, loaders: Sequence[Loader]) -> Iterator[Finding]:
    shown = set()
    for loader in loaders:
        advice = _where_data_may_be(cfg, loader)
        for path in _missing(loader):
            text = f'{path.resolve()} does not exist{_near(path)}'
            if advice not in shown:
                text += f'. {advice}'
            shown.add(advice)
            yield Finding('data-missing', loader.where, '', text)


def _near(path: Path) -> str:
    """Names what has a similar name beside a path; empty if there is nothing."""
    try:
        near = difflib.get_close_matches(path.name, os.listdir(path.parent), 1)
    # There is no such folder, or it cannot be read.
    except OSError:
        near = []
    return f', but {near[0]!r} beside it does' if near else ''


def _where_data_may_be(cfg: Config, loader: Loader) -> str:
    """What to do about missing data."""
    moved = moving_variable(cfg, loader.file)
    if moved:
        name, value = moved
        how = f'If the data are elsewhere: {name}=/path/to/{Path(value).name} takes the place of {value}'
    if not COCO_FILE.fullmatch(loader.file.name) or not (moved or loader.root):
        return f'{how}. Otherwise: {ELSEWHERE[0].lower()}{ELSEWHERE[1:]}' if moved else ELSEWHERE
    tree = (PANOPTIC_TREE if loader.maps else COCO_TREE).format(root=loader.root or '.')
    if not moved:
        how = 'If the data are elsewhere: set data_root of each loader, and ann_file of each evaluator'
    return f'Expected under data_root:\n{tree}\n{how}.' + f'\n{DEMO}' * bool(moved)


def _check_evaluator_paths(evaluators: Sequence[Evaluator], loaders: Sequence[Loader]) -> Iterator[Finding]:
    """Names each missing file once, and not those that are missing for a loader too."""
    named = {path for loader in loaders for path in _missing(loader)}
    for evaluator in evaluators:
        if not evaluator.file.exists() and evaluator.file not in named:
            named.add(evaluator.file)
            text = f'{evaluator.file} does not exist: set ann_file of {evaluator.splits[0]}_evaluator'
            yield Finding('data-missing', evaluator.where, '', text)
