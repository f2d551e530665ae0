"""The preflight of a config: checks everything that a run needs before anything is built."""

from collections.abc import Iterable, Mapping, Sequence

from mmengine.config import Config
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from fishnet_mmdet.preflight.cleaning import drop_bad
from fishnet_mmdet.preflight.coco import CocoData, check_coco
from fishnet_mmdet.preflight.findings import Finding, PreflightError, Report
from fishnet_mmdet.preflight.folders import check_folders
from fishnet_mmdet.preflight.weights import check_pretrained


def check(cfg: Config, splits: Sequence[str], weights: bool, skip_bad: bool = False) -> Report:
    """Checks data, classes and, if wanted, pretrained weights of a config. Nothing is built.

    Args:
        cfg: A whole config. Its `preflight=dict(...)` may hold `images=False`, which opens no image, and
            `trusted_folders`, to which links among the images may lead.
        splits: The splits that will run, of 'train', 'val' and 'test'.
        weights: Whether to check pretrained files. Those that have an address are downloaded if they are missing.
        skip_bad: Whether to leave bad images and annotations out of training; see `drop_bad`.

    Returns:
        The report, with warnings only.

    Raises:
        PreflightError: There are errors; the message is the whole report.
    """
    report = examine(cfg, splits, weights)
    if skip_bad:
        dropped = drop_bad(cfg, report)
        report = examine(cfg, splits, weights=False)
        report.checked.append(f'left out {len(dropped)} entries: {cfg.work_dir}/preflight/dropped.txt')
    report.raise_errors()
    return report


def examine(cfg: Config, splits: Sequence[str], weights: bool) -> Report:
    """Checks the same as `check`, and returns the report even if there are errors.

    Raises:
        PreflightError: The config has no model.
    """
    if not isinstance(cfg.get('model'), Mapping):
        raise PreflightError(f'{cfg.filename or "the config"} has no model=dict(...): is it only a part of a config?')
    with _progress() as progress:
        data = CocoData.read(cfg, splits, progress)
        findings = [*check_folders(cfg, splits), *check_coco(cfg, splits, data, progress)]
    if weights:
        findings += check_pretrained(cfg.model)
    return Report(_unique(findings), data.summary(), data.class_counts())


def _unique(findings: Iterable[Finding]) -> list[Finding]:
    """Removes repetitions: two loaders may share images, and two splits an evaluator."""
    return list(dict.fromkeys(findings))


def _progress() -> Progress:
    """A progress bar, which is shown only in a terminal."""
    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
