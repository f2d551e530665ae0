"""Reads a config file, with the flags that the train and test tools share."""

import argparse
import copy
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.utils import import_modules_from_strings

from fishnet_mmdet.base.config_files import find_config
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.base.startup import collector_paused
from fishnet_mmdet.training.console import MODES


class _Options(DictAction):
    """MMEngine's action for key=value pairs, with an error of the parser for anything else."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Sequence[str], *more: Any
    ) -> None:
        for value in values:
            if '=' not in value:
                parser.error(f'{self.option_strings[0]}: {value!r} is not of the form key=value')
        super().__call__(parser, namespace, values, *more)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the config and the flags that MMDetection's train and test tools share."""
    parser.add_argument('config', help='config file, or the name of a config that ships')
    parser.add_argument('--work-dir', help='folder for logs, checkpoints and AP tables')
    add_options_argument(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    # torchrun sets LOCAL_RANK; the old torch.distributed.launch passes this flag instead.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_options_argument(parser: argparse.ArgumentParser) -> None:
    """Adds the flag for settings that override the config."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=_Options,
        help='settings that override the config, as key=value; lists as key="[a,b]" or key=a,b',
    )


def add_console_argument(parser: argparse.ArgumentParser) -> None:
    """Adds the flag for what a run shows."""
    shown = '; '.join(f'{mode}: {what}' for mode, what in MODES.items())
    parser.add_argument('--console', choices=MODES, default='auto', help=f'what is shown ({shown})')


def load_config(args: argparse.Namespace) -> Config:
    """Reads the config that the common arguments name and applies their settings.

    The work dir is that of the flag, or else that of the config, or else work_dirs/NAME_OF_THE_CONFIG.

    Raises:
        ConfigError: As `read_config`.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    return cfg


def read_config(path: str, options: Mapping | None = None) -> Config:
    """Reads a config file, applies settings, and registers the modules that it may name.

    Args:
        path: The file, or the name of a config that ships.
        options: Settings that override the config, by dotted key.

    Raises:
        ConfigError: There is no such file, it cannot be read, a package that it needs is not installed, or a setting
            has no place in it.
    """
    path = find_config(path)
    try:
        cfg = Config.fromfile(path)
    except ModuleNotFoundError as error:
        raise ConfigError(_about_missing_package(path, error)) from error
    except (SyntaxError, ValueError, OSError, KeyError, AttributeError, TypeError, NameError) as error:
        raise ConfigError(f'{path} cannot be read as a config: {type(error).__name__}: {error}') from error
    if options:
        _apply(cfg, options)
    if find_spec('mmdet'):
        with collector_paused():
            from mmdet.utils import register_all_modules

            register_all_modules(init_default_scope=False)
    return cfg


def _about_missing_package(path: Path, error: ModuleNotFoundError) -> str:
    # OneDL's MMEngine looks for the package of `mmseg::` under the name of the original.
    if 'mmsegmentation is not installed' in str(error) and (spec := find_spec('mmseg')):
        folder = Path(spec.origin).parent / '.mim' / 'configs'
        return (
            f'{path}: this MMEngine does not find the configs of the installed mmseg by `mmseg::`. Write the path in '
            f'_base_ instead: {folder}/...'
        )
    return (
        f'{path} needs a package that is not installed: {error}. For classifiers: pip install '
        "'mmpretrain>=1.2,<1.3'; for semantic segmentation: pip install 'mmsegmentation>=1.2,<1.3' ftfy regex. "
        'Then run `python -m fishnet_mmdet.doctor`'
    )


def _apply(cfg: Config, options: Mapping) -> None:
    for key, value in options.items():
        try:
            cfg.merge_from_dict({key: copy.deepcopy(value)})  # it takes `_delete_` out
        except (AssertionError, KeyError, TypeError, ValueError, IndexError) as error:
            reason = error.args[0] if error.args else type(error).__name__
            raise ConfigError(f'the setting {key}={value!r} does not fit {cfg.filename}: {reason}') from error
    named = cfg.get('custom_imports')
    if named and any(key.split('.')[0] == 'custom_imports' for key in options):
        # `Config.fromfile` has imported only what the file names.
        try:
            import_modules_from_strings(**named)
        except (ImportError, TypeError, AssertionError) as error:
            raise ConfigError(f'the setting custom_imports={named!r}: {error.__cause__ or error}') from error


def is_classifier(cfg: Config) -> bool:
    """Returns whether a config is mmpretrain's."""
    return _library_of(cfg) == 'mmpretrain'


def is_segmentor(cfg: Config) -> bool:
    """Returns whether a config is mmsegmentation's; panoptic configs are mmdet's."""
    return _library_of(cfg) == 'mmseg'


def _library_of(cfg: Config) -> str:
    """The library of a config: its scope, or else that of its model. A config of classes has no scope."""
    if cfg.get('default_scope'):
        return cfg.default_scope
    kind = (cfg.get('model') or {}).get('type', '')
    return (kind if isinstance(kind, str) else kind.__module__).split('.')[0]
