"""The preflight of a config: everything that a run needs, looked at before anything is built."""

from collections.abc import Mapping, Sequence

from mmengine.config import Config
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from fishnet_mmdet.preflight.cleaning import drop_bad
from fishnet_mmdet.preflight.datasets import check_coco
from fishnet_mmdet.preflight.findings import Finding, PreflightError, Report
from fishnet_mmdet.preflight.folders import (
    CLASS_FOLDERS,
    check_images_of_classes,
    check_label_maps,
    check_same_classes,
)
from fishnet_mmdet.preflight.nodes import mappings, name_of
from fishnet_mmdet.preflight.weights import check_fishnet_weights, check_weights, pretrained


def check(cfg: Config, splits: Sequence[str], weights: bool, skip_bad: bool = False) -> Report:
    """Checks data, classes and, on demand, pretrained weights of a config. Nothing is built.

    Args:
        cfg: A whole MMDetection config. Its `preflight=dict(...)` may hold `images=False`, which opens no image, and
            `trusted_folders`, to which links among the images may lead.
        splits: Which loaders are going to run, out of 'train', 'val', 'test'.
        weights: Whether pretrained files are going to be loaded; missing ones that have an address are downloaded.
        skip_bad: Whether to train without the images and annotations that are bad rather than to stop: see `drop_bad`.

    Returns:
        The report, which holds warnings only.

    Raises:
        PreflightError: Anything that stops a run; the message is the report of all that was found.
    """
    report = examine(cfg, splits, weights)
    if skip_bad:
        dropped = drop_bad(cfg, report)
        report = examine(cfg, splits, weights=False)
        report.checked.append(f'left out {len(dropped)} entries: {cfg.work_dir}/preflight/dropped.txt')
    report.raise_errors()
    return report


def examine(cfg: Config, splits: Sequence[str], weights: bool) -> Report:
    """As `check`, but errors are only reported.

    Raises:
        PreflightError: It is no config of a model.
    """
    if not isinstance(cfg.get('model'), Mapping):
        raise PreflightError(f'{cfg.filename or "the config"} has no model=dict(...): is it a part of a config?')
    report = Report()
    columns = (
        SpinnerColumn(),
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        _check_folders(cfg, splits, report)
        check_coco(cfg, splits, report, progress, images=(cfg.get('preflight') or {}).get('images', True))
    if weights:
        _check_pretrained(cfg, report)
    return report


def _check_folders(cfg: Config, splits: Sequence[str], report: Report) -> None:
    model = cfg.model.get('module', cfg.model)  # test-time augmentation wraps the model
    of_classes = {}
    for split in splits:
        for node in mappings(cfg.get(f'{split}_dataloader')):
            try:
                if name_of(node) in CLASS_FOLDERS:
                    of_classes[split] = check_images_of_classes(node, split, model.head.num_classes)
                elif 'seg_map_path' in (node.get('data_prefix') or {}):
                    check_label_maps(node, split, model.decode_head)
            except PreflightError as error:
                report.findings.append(Finding('folders', split, '', str(error)))
    try:
        check_same_classes({split: names for split, names in of_classes.items() if names})
    except PreflightError as error:
        report.findings.append(Finding('folders', ', '.join(of_classes), '', str(error)))


def _check_pretrained(cfg: Config, report: Report) -> None:
    for node in mappings(cfg.model):
        for init in pretrained(node):
            try:
                if name_of(node) == 'FishNet':
                    check_fishnet_weights(node, init)
                else:
                    check_weights(init['checkpoint'])
            except PreflightError as error:
                report.findings.append(Finding('weights', name_of(node), '', str(error)))
