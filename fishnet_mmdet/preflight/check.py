"""The preflight of a config: checks everything that a run needs before anything is built."""

import difflib
from collections.abc import Iterable, Mapping, Sequence

from mmengine.config import Config
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.preflight.cleaning import drop_bad
from fishnet_mmdet.preflight.coco import CocoData, check_coco
from fishnet_mmdet.preflight.findings import Finding, PreflightError, Report
from fishnet_mmdet.preflight.folders import check_folders
from fishnet_mmdet.preflight.kinds import KINDS
from fishnet_mmdet.preflight.necks import check_necks
from fishnet_mmdet.preflight.scales import check_scales
from fishnet_mmdet.preflight.settings import check_settings
from fishnet_mmdet.preflight.weights import check_pretrained, lines_on_downloads


def check(cfg: Config, splits: Sequence[str], weights: bool, skip_bad: bool = False) -> Report:
    """Checks data, classes and, if wanted, pretrained weights of a config. Nothing is built.

    Args:
        cfg: A whole config. Its `preflight=dict(...)` may hold `images=False`, which opens no image;
            `trusted_folders`, to which links among the images may lead; `ignore`, kinds of errors that become
            warnings, and of warnings that are left out; and `max_gib`, the largest annotation file that is checked
            (2 GiB by default).
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
        numbers_again = any(KINDS[finding.kind].renumbers and finding.where == 'train' for finding in report.errors)
        dropped = drop_bad(cfg, report)
        report = examine(cfg, splits, weights=False)
        report.checked.append(f'left out {len(dropped)} entries: {cfg.work_dir}/preflight/dropped.txt')
        if numbers_again:
            report.checked.append('training annotations are numbered again: some ids were used twice')
    report.raise_errors()
    return report


def examine(cfg: Config, splits: Sequence[str], weights: bool, download: bool = True) -> Report:
    """Checks the same as `check`, and returns the report even if there are errors.

    Args:
        cfg: As for `check`.
        splits: As for `check`.
        weights: Whether to check pretrained files.
        download: Whether to download those that are missing. If not, the report says which were not checked.

    Raises:
        ConfigError: `preflight.ignore` names a kind that does not exist.
        PreflightError: The config has no model.
    """
    if not isinstance(cfg.get('model'), Mapping):
        raise PreflightError(f'{cfg.filename or "the config"} has no model=dict(...): is it only a part of a config?')
    ignored = _ignored_kinds(cfg)
    with _progress() as progress:
        data = CocoData.read(cfg, splits, progress)
        findings = [*check_folders(cfg, splits), *check_coco(cfg, splits, data, progress)]
    findings += [*check_scales(data), *check_necks(cfg), *check_settings(cfg, splits, data)]
    if weights:
        findings += check_pretrained(cfg.model, download)
    shown = [finding for finding in _unique(findings) if KINDS[finding.kind].stops or finding.kind not in ignored]
    downloads = lines_on_downloads(cfg.model) if weights and not download else []
    return Report(shown, [*data.summary(), *downloads], data.class_counts(), ignored)


def _ignored_kinds(cfg: Config) -> tuple[str, ...]:
    """Kinds of errors that the config turns into warnings, and of warnings that it leaves out."""
    names = (cfg.get('preflight') or {}).get('ignore') or ()
    names = (names,) if isinstance(names, str) else tuple(names)
    for name in names:
        if name not in KINDS:
            near = difflib.get_close_matches(str(name), KINDS, 1)
            hint = f'; is {near[0]!r} meant?' if near else ', which docs/data-checks.md lists'
            raise ConfigError(f'preflight.ignore: {name!r} is not a kind of finding{hint}')
    return names


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
