"""Where the configs that ship lie, and how one is found by its name."""

import ast
import difflib
import re
from collections.abc import Iterator
from pathlib import Path

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.base.outputs import writing

PACKAGE = Path(__file__).resolve().parent.parent


def config_folder() -> Path:
    """The folder of the configs: in the package of a wheel, beside the package in a clone."""
    inside = PACKAGE / 'configs'
    return inside if inside.is_dir() else PACKAGE.parent / 'configs'


def config_names() -> list[str]:
    """Names of the configs that ship, sorted, such as 'mask_rcnn_fishnet150_fpn'."""
    return sorted(path.stem for path in config_folder().glob('*.py'))


def find_config(name_or_path: str | Path) -> Path:
    """Finds a config by path, or by the name of one that ships.

    Args:
        name_or_path: A path, or a name such as 'mask_rcnn_fishnet150_fpn' or 'experiments/nuclei', with or without .py.

    Raises:
        ConfigError: There is neither such a file nor such a config.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.name and not path.is_absolute() and '..' not in path.parts:
        shipped = config_folder() / path.with_suffix('.py')
        if shipped.is_file():
            return shipped
    close = difflib.get_close_matches(path.stem, config_names(), n=1)
    hint = f'; a config that ships is {close[0]!r}' if close else ''
    raise ConfigError(f'config file not found: {path.resolve()}{hint}. `fishnet-mmdet configs` lists those that ship')


def first_line(path: Path) -> str:
    """The first line of a config's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or '').partition('\n')[0]


def copy_config(name: str, folder: Path) -> list[Path]:
    """Copies a config or an experiment that ships, with the files that it is based on or trains.

    Args:
        name: Name of the config, or of an experiment, such as 'experiments/nuclei'.
        folder: Folder to write to; the files keep their places relative to each other.

    Returns:
        The files that were written; the config is the first.

    Raises:
        ConfigError: There is no such config, or one of the files exists in the folder with other content.
        UserError: A file cannot be written.
    """
    shipped = config_folder().resolve()
    source = find_config(shipped / f'{name.removesuffix(".py")}.py')
    copies = {path: folder / path.relative_to(shipped) for path in _with_named(source.resolve())}
    for path, copy in copies.items():
        if copy.exists() and copy.read_bytes() != path.read_bytes():
            raise ConfigError(f'{copy} exists and is another file: choose another folder with --out')
    for path, copy in copies.items():
        with writing('--out', copy):
            write_atomically(copy, path.read_bytes())
    return list(copies.values())


def _with_named(path: Path) -> Iterator[Path]:
    """A file and those of ours that it names: what a config is based on, what an experiment trains."""
    yield path
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        value = getattr(node, 'value', None) if isinstance(node, ast.Constant) else None
        # `mmdet::...py` and the like are not ours.
        if isinstance(value, str) and re.fullmatch(r'[\w./-]+\.py', value):
            yield from _with_named((path.parent / value).resolve())
