"""Whether the COCO data sets of a config are sound, together and with the evaluators that judge by them."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import compress, islice
from pathlib import Path

import numpy as np
from mmengine.config import Config
from rich.progress import Progress

from fishnet_mmdet.data.coco import brief
from fishnet_mmdet.preflight.annotations import check_annotations
from fishnet_mmdet.preflight.contents import Contents, ImageEntry, Use
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


def check_coco(cfg: Config, splits: Sequence[str], report: Report, progress: Progress, images: bool = True) -> None:
    """Checks every COCO data set of a config and the evaluators that go with them; see docs/data-checks.md.

    Args:
        cfg: A whole MMDetection config.
        splits: Which loaders are going to run.
        report: Takes what is found.
        progress: Shows how far it got.
        images: Whether to open the image files.
    """
    loaders = [loader for loader in coco_loaders(cfg, splits, report) if _is_there(loader, report)]
    evaluators = [e for e in coco_evaluators(cfg, splits, report) if _evaluator_is_there(e, report)]
    ignored = cfg.get('ignored_classes') or ()
    ignored = (ignored,) if isinstance(ignored, str) else tuple(ignored)
    known = _read_all(loaders, evaluators, ignored, report, progress)
    trusted = [str(Path(f).resolve()) for f in (cfg.get('preflight') or {}).get('trusted_folders', ())]
    for loader in loaders:
        contents = known[loader.file]
        if not contents.is_read:
            continue
        fits = _check_classes(contents, loader.classes, loader.where, ignored, report)
        _count(contents, loader, report)
        scores = all(e.scores for e in evaluators if {*e.splits} & {*loader.splits})
        if scores and contents.images and loader.labelled:
            _check_objects(contents, loader, fits, report)
        _check_images(contents, loader, trusted, images, report, progress)
    _check_splits(loaders, report)
    for evaluator in evaluators:
        for split in evaluator.splits:
            judged = [loader for loader in loaders if split in loader.splits]
            if judged and evaluator.of_all:
                _check_evaluator(known, evaluator, judged, report)
                for loader in judged:
                    if loader.file != evaluator.file:
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


def _read_all(
    loaders: Sequence[Loader],
    evaluators: Sequence[Evaluator],
    ignored: Sequence[str],
    report: Report,
    progress: Progress,
) -> dict[Path, Contents]:
    """Reads every annotation file once, with all that it is needed for."""
    known = {}
    for path in dict.fromkeys(user.file for user in (*loaders, *evaluators)):
        reading = [loader for loader in loaders if loader.file == path]
        judging = [evaluator for evaluator in evaluators if evaluator.file == path]
        splits = dict.fromkeys(split for loader in reading for split in loader.splits)
        use = Use(
            masks=any(user.masks for user in (*reading, *judging)),
            polygons_alone=any(loader.polygons_alone for loader in reading),
            evaluated=any(evaluator.scores for evaluator in judging),
            bare=any(evaluator.bare for evaluator in judging),
            panoptic=any(user.panoptic for user in (*reading, *judging)),
            ignored={name for name in ignored if not any(name in loader.classes for loader in reading)},
        )
        known[path] = _read(path, ', '.join(splits) or judging[0].where, use, report, progress)
    return known


def _read(path: Path, where: str, use: Use, report: Report, progress: Progress) -> Contents:
    size = path.stat().st_size / 2**20
    task = progress.add_task(f'reading {where} annotations ({size:.0f} MiB)', total=None)
    contents = check_annotations(path, use)
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
    if not contents.is_read:
        return True
    names = [name for _, name in contents.categories]
    used = set(np.unique(contents.category_ids).tolist())
    unknown = [name for _, name in contents.categories if name not in classes and name not in ignored]
    unused = [name for key, name in contents.categories if name in unknown and key not in used]
    if [name for name in names if name in classes] == list(classes) and unknown == unused:
        if unused:
            _add_once(Finding('category-unused', where, str(contents.path), ', '.join(unused)), report)
        return True
    missing = [name for name in classes if name not in names]
    lists = f'\n  annotations: {names}\n  config:      {list(classes)}'
    if not missing and unknown == unused:
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
    if not _taken(contents, loader, of_classes):
        least = loader.filtering.get('min_size', 0)
        images, annotated = contents.images.values(), len({*compress(contents.image_ids, of_classes)})
        small = sum(min(image.width, image.height) < least for image in images)
        add(
            'all-filtered',
            f'{len(images)} images: {len(images) - annotated} without an annotation, {small} with a side below '
            f'min_size={least}; filter_cfg={dict(loader.filtering)}, indices={loader.indices}',
        )
    return None


def _taken(contents: Contents, loader: Loader, of_classes: np.ndarray) -> list[int | str]:
    """Ids of the images that a loader takes, as MMDetection filters them and MMEngine then picks from them.

    Args:
        contents: Of its annotation file.
        loader: Its config.
        of_classes: (objects,) whether each is of a class of the config.
    """
    ids = list(contents.images)
    if least := loader.filtering.get('min_size', 0):
        ids = [key for key in ids if min(contents.images[key].width, contents.images[key].height) >= least]
    if loader.filtering.get('filter_empty_gt'):
        annotated = {*compress(contents.image_ids, of_classes)}
        ids = [key for key in ids if key in annotated]
    picked = loader.indices
    if isinstance(picked, int):
        return ids[:picked] if picked >= 0 else ids[picked:]
    return ids if picked is None else [ids[place] for place in picked if -len(ids) <= place < len(ids)]


def _check_images(
    contents: Contents,
    loader: Loader,
    trusted: Sequence[str],
    opened: bool,
    report: Report,
    progress: Progress,
) -> None:
    """Looks at the image files; unless they may be opened, only at where their paths lead."""
    trusted = [*trusted, *([str(loader.root.resolve())] if loader.root else [])]
    names = {key: image.name for key, image in contents.images.items()}
    kinds = [(loader.folder, names)]
    if loader.maps:  # as mmdet finds the map of an image
        kinds.append((loader.maps, {key: name.replace('.jpg', '.png') for key, name in names.items()}))
    for folder, names in kinds:
        task = progress.add_task(f'looking at {loader.where} images', total=len(names))
        looks = look_at_all(folder, names.values(), trusted, partial(progress.advance, task), opened)
        progress.remove_task(task)
        for key, name in names.items():
            image = contents.images[key]
            if found := judge(looks[name], image, loader.turns and folder == loader.folder, opened):
                kind, text = found
                entry = (str(loader.file), 'images', image.place)
                finding = Finding(kind, loader.where, str(folder), text or name, image=key, entry=entry)
                report.findings.append(finding)


def judge(look: Look, image: ImageEntry, turns: bool, opened: bool = True) -> tuple[str, str] | None:
    """Compares an image file with its entry.

    Args:
        look: What was seen of the file.
        image: The entry.
        turns: Whether the reader turns images by their EXIF tag.
        opened: Whether the file was opened at all.

    Returns:
        Kind and detail of a finding, or None.
    """
    if look.problem or not opened:
        return (look.problem, look.detail) if look.problem else None
    width, height = image.width, image.height
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
    data = set()
    for loader in loaders:
        contents = known[loader.file]
        meant = [key for key, name in contents.categories if name in loader.classes]
        data |= {*_taken(contents, loader, np.isin(contents.category_ids, meant))}
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
