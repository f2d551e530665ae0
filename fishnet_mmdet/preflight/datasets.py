"""Whether the COCO data sets of a config are sound, together and with the evaluators that judge by them."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from mmengine.config import Config
from rich.progress import Progress

from fishnet_mmdet.data.coco import brief
from fishnet_mmdet.preflight.annotations import Contents, check_annotations
from fishnet_mmdet.preflight.findings import Finding, Report
from fishnet_mmdet.preflight.images import Look, look_at_all
from fishnet_mmdet.preflight.loaders import Evaluator, Loader, coco_evaluators, coco_loaders

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

ELSEWHERE = (
    'Data elsewhere? COCO_ROOT=/path/to/coco moves every path of our COCO configs; in others, set data_root of each '
    'loader and ann_file of each evaluator.\nNo COCO at hand? `make demo` trains on images that it draws itself.'
)


@dataclass
class _File:
    """What an annotation file is needed for, all uses taken together."""

    splits: list[str] = field(default_factory=list)
    masks: bool = False
    evaluated: bool = False
    panoptic: bool = False


def check_coco(
    cfg: Config, splits: Sequence[str], report: Report, progress: Progress, images: bool = True
) -> None:
    """Checks every COCO data set of a config and the evaluators that go with them; see docs/data-checks.md.

    Args:
        cfg: A whole MMDetection config.
        splits: Which loaders are going to run.
        report: Takes what is found.
        progress: Shows how far it got.
        images: Whether to open the image files.
    """
    loaders = [loader for loader in coco_loaders(cfg, splits, report) if _is_there(loader, report)]
    evaluators = [e for e in coco_evaluators(cfg, splits) if _evaluator_is_there(e, report)]
    known = {path: _read(path, file, report, progress) for path, file in _files(loaders, evaluators).items()}
    ignored = tuple(cfg.get('ignored_classes', ()))
    trusted = [str(Path(f).resolve()) for f in cfg.get('preflight', {}).get('trusted_folders', ())]
    for loader in loaders:
        contents = known[loader.file]
        if not contents.is_read:
            continue
        fits = _check_classes(contents, loader.classes, loader.where, ignored, report)
        _count(contents, loader, report)
        scores = all(e.scores for e in evaluators if {*e.splits} & {*loader.splits})
        if scores and contents.images:
            _check_objects(contents, loader, fits, report)
        if images:
            _check_images(contents, loader, trusted, report, progress)
    _check_splits(loaders, report)
    for evaluator in evaluators:
        for split in evaluator.splits:
            judged = [loader for loader in loaders if split in loader.splits]
            others = [loader for loader in judged if loader.file != evaluator.file]
            if others:
                _check_evaluator(known, evaluator, judged, report)
            for loader in others:
                _check_classes(known[evaluator.file], loader.classes, evaluator.where, ignored, report)


def _is_there(loader: Loader, report: Report) -> bool:
    gone = [path for path in (loader.file, loader.folder, loader.maps) if path and not path.exists()]
    tree = (PANOPTIC_TREE if loader.maps else COCO_TREE).format(root=loader.root or '.')
    for path in gone:
        text = f'{path.resolve()} does not exist'
        if not any(tree in finding.detail for finding in report.findings):  # once is enough
            text += f'. Expected COCO layout under data_root:\n{tree}\n{ELSEWHERE}'
        report.findings.append(Finding('data-missing', loader.where, '', text))
    return not gone


def _evaluator_is_there(evaluator: Evaluator, report: Report) -> bool:
    there, path = evaluator.file.exists(), str(evaluator.file)
    if not there and not any(finding.detail.startswith(path) for finding in report.findings):
        text = f'{path} does not exist: set ann_file of {evaluator.splits[0]}_evaluator'
        report.findings.append(Finding('data-missing', evaluator.where, '', text))
    return there


def _files(loaders: Sequence[Loader], evaluators: Sequence[Evaluator]) -> dict[Path, _File]:
    """Every annotation file once, with all that it is needed for."""
    files: dict[Path, _File] = {}
    for loader in loaders:
        file = files.setdefault(loader.file, _File())
        file.splits += [split for split in loader.splits if split not in file.splits]
        file.masks |= loader.masks
        file.panoptic |= loader.panoptic
    for evaluator in evaluators:
        file = files.setdefault(evaluator.file, _File([evaluator.where]))
        file.masks |= evaluator.masks
        file.evaluated |= evaluator.scores
        file.panoptic |= evaluator.panoptic
    return files


def _read(path: Path, file: _File, report: Report, progress: Progress) -> Contents:
    where = ', '.join(file.splits)
    size = path.stat().st_size / 2**20
    task = progress.add_task(f'reading {where} annotations ({size:.0f} MiB)', total=None)
    contents = check_annotations(path, file.masks, file.evaluated, file.panoptic)
    progress.remove_task(task)
    contents.findings = [replace(finding, where=where) for finding in contents.findings]
    report.findings += contents.findings
    return contents


def _check_classes(
    contents: Contents, classes: Sequence[str], where: str, ignored: Sequence[str], report: Report
) -> bool:
    """Whether a config and an annotation file mean the same classes, in the same order.

    MMDetection numbers labels by the annotation file and names them by the config, and says nothing where the two
    differ: labels shift, or carry wrong names.
    """
    names = [name for _, name in contents.categories]
    kept = [name for name in names if name not in ignored]
    if kept == list(classes) or not contents.is_read:
        return True
    unknown = [name for name in kept if name not in classes]
    missing = [name for name in classes if name not in names]
    lists = f'\n  annotations: {names}\n  config:      {list(classes)}'
    if not unknown and not missing:
        text, kind = f'the same names in another order{lists}', 'classes-order'
    else:
        parts = [f'the annotations have classes that the config does not know: {unknown}'] * bool(unknown)
        parts += [f'the config has classes that the annotations lack: {missing}'] * bool(missing)
        near = {name: difflib.get_close_matches(name, unknown, 1) for name in missing}
        parts += [f'is {name!r} meant to be {match[0]!r}?' for name, match in near.items() if match]
        none = 'no class of the config is in the file; ' * (len(missing) == len(classes))
        text, kind = f'{none}{"; ".join(parts)}{lists}', 'classes-differ'
    _add_once(Finding(kind, where, str(contents.path), text), report)
    return False


def _count(contents: Contents, loader: Loader, report: Report) -> None:
    report.checked.append(
        f'{loader.where}: {len(contents.images)} images in {loader.folder}, {len(contents.category_ids)} annotations '
        f'in {loader.file}'
    )
    ids, counts = np.unique(contents.category_ids, return_counts=True)
    by_id = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    report.classes[loader.where] = {name: by_id.get(key, 0) for key, name in contents.categories}


def _check_objects(contents: Contents, loader: Loader, classes_fit: bool, report: Report) -> None:
    """Whether anything is left to learn or to find once crowds, unused classes and filtered images are taken away."""

    def add(kind: str, text: str) -> None:
        report.findings.append(Finding(kind, loader.where, str(loader.file), text))

    meant = [key for key, name in contents.categories if name in loader.classes or not classes_fit]
    of_classes = np.isin(contents.category_ids, meant)
    total = len(of_classes)
    if not (of_classes & contents.is_used & ~contents.is_crowd).any():
        crowds, left_out = int(contents.is_crowd.sum()), int((~contents.is_used).sum())
        others = int((~of_classes).sum())
        return add(
            'no-objects',
            f'{total} annotations: {crowds} of them crowds, {left_out} empty, tiny, outside or ignored, {others} of classes '
            'that the config leaves out',
        )
    if not loader.filtering:
        return None
    annotated = {key for key, used in zip(contents.image_ids, of_classes, strict=True) if used}
    least = loader.filtering.get('min_size', 0)
    large = {key for key, image in contents.images.items() if min(image.width, image.height) >= least}
    if not (large & annotated if loader.filtering.get('filter_empty_gt') else large):
        add(
            'all-filtered',
            f'{len(contents.images)} images: {len(contents.images) - len(annotated)} without an annotation, '
            f'{len(contents.images) - len(large)} with a side below min_size={least}; filter_cfg={dict(loader.filtering)}',
        )
    return None


def _check_images(
    contents: Contents, loader: Loader, trusted: Sequence[str], report: Report, progress: Progress
) -> None:
    outside = {finding.image for finding in contents.findings if finding.kind == 'path-escapes'}
    images = {key: image for key, image in contents.images.items() if key not in outside}
    trusted = [*trusted, *([str(loader.root.resolve())] if loader.root else [])]
    # As mmdet finds the map of an image.
    kinds = [(loader.folder, {key: image.name for key, image in images.items()})]
    kinds += (
        [(loader.maps, {k: i.name.replace('.jpg', '.png') for k, i in images.items()})] if loader.maps else []
    )
    for folder, names in kinds:
        task = progress.add_task(f'looking at {loader.where} images', total=len(names))
        looks = look_at_all(folder, names.values(), trusted, partial(progress.advance, task))
        progress.remove_task(task)
        for key, name in names.items():
            image = images[key]
            if found := judge(
                looks[name], image.width, image.height, loader.turns and folder == loader.folder
            ):
                kind, text = found
                report.findings.append(
                    Finding(
                        kind,
                        loader.where,
                        str(folder),
                        text or name,
                        image=key,
                        entry=('images', image.place),
                    )
                )


def judge(look: Look, width: int, height: int, turns: bool) -> tuple[str, str] | None:
    """Compares an image file with its entry.

    Args:
        look: What was seen of the file.
        width: As annotated.
        height: As annotated.
        turns: Whether the reader turns images by their EXIF tag.

    Returns:
        Kind and detail of a finding, or None.
    """
    if look.problem:
        return look.problem, look.detail
    orientation = look.orientation if turns else 1
    read = (look.height, look.width) if orientation >= 5 else (look.width, look.height)
    if read != (width, height):
        text = f'{read[0]} x {read[1]} when read, annotated as {width} x {height}'
        if orientation >= 5:
            text += f' (EXIF orientation {orientation} turns the stored {look.width} x {look.height})'
        return 'image-size', text
    if orientation != 1 and (orientation < 5 or width == height):
        return 'image-turned', f'EXIF orientation {orientation}'
    return ('image-16-bit', '') if look.deep else None


def _check_splits(loaders: Sequence[Loader], report: Report) -> None:
    for other in loaders[1:]:
        first = loaders[0]
        if first.classes != other.classes:
            odd = sorted(set(first.classes) ^ set(other.classes)) or 'the same names in another order'
            text = f'{first.where} and {other.where}: {odd}'
            report.findings.append(Finding('classes-of-splits', f'{first.where}, {other.where}', '', text))


def _check_evaluator(
    known: Mapping[Path, Contents], evaluator: Evaluator, loaders: Sequence[Loader], report: Report
) -> None:
    """Whether an evaluator and the loaders of a split have the same images: one too many crashes, one too few is missed."""
    if not all(known[use.file].is_read for use in (evaluator, *loaders)):
        return
    truth = known[evaluator.file].images.keys()
    data = set().union(*(known[loader.file].images for loader in loaders))
    files = ', '.join(str(loader.file) for loader in loaders)
    for odd, text in (
        (data - truth, 'images of the loader are not in the evaluator'),
        (truth - data, 'images of the evaluator are not in the loader, and would count as missed'),
    ):
        if odd:
            ids = ', '.join(map(brief, islice(sorted(odd, key=str), 5)))
            text = f'{len(odd)} {text}: {ids}{", ..." if len(odd) > 5 else ""}; the loader reads {files}'
            _add_once(Finding('evaluator-images', evaluator.where, str(evaluator.file), text), report)


def _add_once(finding: Finding, report: Report) -> None:
    """Validation and test often have one evaluator and one loader, and so the same to tell."""
    if finding not in report.findings:
        report.findings.append(finding)
