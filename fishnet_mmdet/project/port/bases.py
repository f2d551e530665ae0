"""The config that is ported: where it lies, and how a config elsewhere names it."""

import difflib
import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config

from fishnet_mmdet.base.config_files import find_config
from fishnet_mmdet.base.errors import ConfigError

PACKAGE_CONFIG = re.compile(r'\w+::\w+/\w+')
"""How MMEngine recognises the name of a package's config; a folder such as `gn+ws` does not fit."""


@dataclass(frozen=True)
class Base:
    """A config to build on.

    Attributes:
        name: As it was given, such as `mmdet::retinanet/retinanet_r50_fpn_1x_coco.py`, or the path of a file.
        path: The file.
        config: What is in it.
    """

    name: str
    path: Path
    config: Config

    def seen_from(self, folder: Path) -> str:
        """What `_base_` has to say in a config that lies in `folder`."""
        is_name = PACKAGE_CONFIG.match(self.name) and _is_found_by_mmengine(self.name)
        return self.name if is_name else os.path.relpath(self.path.absolute(), folder.resolve())


def _is_found_by_mmengine(name: str) -> bool:
    """Whether the name of a package's config can be a base: OneDL's MMEngine does not find its own mmsegmentation."""
    try:
        Config.fromstring(f'_base_ = {name!r}', '.py')
    except (ModuleNotFoundError, AssertionError):
        return False
    return True


def read_base(name_or_path: str | Path) -> Base:
    """Reads a config of an installed package (`mmdet::...`), a path, or a config that ships.

    Raises:
        ConfigError: There is no such config, it cannot be read, or a text config cannot build on it.
    """
    name = str(name_or_path)
    try:
        path = _in_package(name) if '::' in name else find_config(name)
    except ConfigError as error:
        raise ConfigError(f'{error}. A config of MMDetection is named mmdet::FOLDER/NAME.py') from error
    if path.suffix != '.py':
        raise ConfigError(f'{name} is not a Python config: only those can be a base here')
    if b'read_base()' in path.read_bytes():
        raise ConfigError(
            f'{name} is a config in the pure Python style (`with read_base()`), which text configs cannot build on: '
            'port the text config of the same name, such as mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
        )
    try:
        return Base(name, path, Config.fromfile(path))
    except Exception as error:  # a config is code: anything may go wrong in it
        raise ConfigError(f'{name} cannot be read: {type(error).__name__}: {error}') from error


def _in_package(name: str) -> Path:
    package, _, rest = name.partition('::')
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None or spec.origin is None:
        raise ConfigError(f'{name}: the package {package!r} is not installed here')
    folder = Path(spec.origin).parent / '.mim' / 'configs'
    if not folder.is_dir():
        raise ConfigError(f'{name}: {package} has no configs in {folder}; give the path of the config')
    path = folder / rest
    if not path.is_file():
        near = ', '.join(f'{package}::{other}' for other in _near(rest, folder))
        raise ConfigError(f'{name}: there is no file {path}' + (f'; is one of these meant: {near}' if near else ''))
    return path


def _near(name: str, folder: Path) -> list[str]:
    """Configs with a similar name, at most three: in any folder, since `FOLDER/` is easily left out or wrong."""
    by_stem: dict[str, list[str]] = {}
    for path in sorted(folder.rglob('*.py')):
        if '_base_' not in path.parts:
            by_stem.setdefault(path.stem, []).append(path.relative_to(folder).as_posix())
    stem = name.rpartition('/')[2].removesuffix('.py')
    near = difflib.get_close_matches(stem, by_stem, 3, 0.7)
    return [path for found in near for path in by_stem[found]][:3]
