"""What is checked before anything is built: folders to write to, and the preflight."""

from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from fishnet_mmdet import preflight
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.base.folders import why_not_writable
from fishnet_mmdet.training.checkpoints.resume import folder_of
from fishnet_mmdet.training.console import Screen
from fishnet_mmdet.training.console.rows import short_path
from fishnet_mmdet.training.launch.start import checkpoint_out_dir


def run_checks(cfg: Config, screen: Screen, splits: Sequence[str], weights: bool, skip_bad: bool = False) -> None:
    """Checks the folders that the run will write to, then runs the preflight and shows its report.

    Args:
        cfg: The config of the run.
        screen: Shows what was checked, in rows, and the report where anything was found.
        splits: The loaders that will run, of 'train', 'val' and 'test'.
        weights: Whether pretrained files will be loaded.
        skip_bad: Whether to train without bad images and annotations; see `fishnet_mmdet.preflight.drop_bad`.

    Raises:
        ConfigError: A folder cannot be written to.
        PreflightError: The preflight found an error.
    """
    check_writable(Path(cfg.work_dir))
    out_dir = checkpoint_out_dir(cfg)
    if '://' not in (out_dir or ''):
        check_writable(folder_of(cfg.work_dir, out_dir))
    report = preflight.check(cfg, splits, weights, skip_bad)
    if report.findings or not screen.is_own:
        print(report.text(), flush=True)
    for line in () if report.findings else report.checked:
        screen.row('data', line)


def show_config(screen: Screen, cfg: Config) -> None:
    """Shows the first rows: they name what the run is about, before anything can fail."""
    screen.row('config', short_path(cfg.filename or 'none'))
    screen.row('work dir', short_path(cfg.work_dir))


def check_writable(folder: Path) -> None:
    """Checks that a folder can be written to or created.

    Raises:
        ConfigError: It cannot; the message says why.
    """
    if reason := why_not_writable(folder):
        raise ConfigError(
            f'{folder} cannot be written to, because of {reason}. Choose another folder with --work-dir, '
            'or for checkpoints with default_hooks.checkpoint.out_dir'
        )
