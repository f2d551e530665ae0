"""The config of a run, read from the copy in its work dir without executing it, and what differs between runs."""

import ast
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OF_THE_START = ('work_dir', 'resume', 'load_from', 'experiment_name', 'launcher', 'log_level')
"""Settings that say where and how a run was started, not what it trains."""

SEED = 'randomness.seed'
MISSING = object()


@dataclass(frozen=True)
class Difference:
    """A setting that is not the same in all runs.

    Attributes:
        key: Its place, such as `optim_wrapper.optimizer.lr`.
        values: For each run, the value; `MISSING` where the run has no such setting.
    """

    key: str
    values: tuple[Any, ...]

    def texts(self, wrap: bool = False) -> list[str]:
        """The values as Python writes them, '-' for a missing one.

        Args:
            wrap: Give long dicts a line for each key.
        """
        return ['-' if value is MISSING else written(value, wrap) for value in self.values]


def read_settings(file: Path) -> dict[str, Any]:
    """Reads a config as MMEngine writes it to the work dir: assignments of literals and `dict(...)`.

    An expression of another kind stays text.

    Args:
        file: The config.

    Returns:
        The settings; empty if the file cannot be read.
    """
    try:
        return parse_settings(file.read_text())
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return {}


def parse_settings(text: str) -> dict[str, Any]:
    """Reads the text of such a config.

    Raises:
        SyntaxError: It is not Python.
    """
    body = ast.parse(text).body
    assignments = [node for node in body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)]
    return {node.targets[0].id: _value(node.value) for node in assignments}


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Dict():
            return {_key(k): _value(v) for k, v in zip(node.keys, node.values, strict=True) if k is not None}
        case ast.Call(func=ast.Name(id='dict'), args=[]):
            return {k.arg: _value(k.value) for k in node.keywords if k.arg is not None}
        case ast.List() | ast.Tuple():
            return [_value(element) for element in node.elts]
        case _:
            try:
                return ast.literal_eval(node)
            except (ValueError, TypeError):
                return ast.unparse(node)


def _key(node: ast.expr) -> Any:
    key = _value(node)
    # A tuple, which `_value` gives as a list.
    return ast.unparse(node) if isinstance(key, list | dict) else key


def at(settings: Mapping, key: str, default: Any = None) -> Any:
    """The setting at a place such as `train_cfg.max_epochs`."""
    found: Any = settings
    for part in key.split('.'):
        if not isinstance(found, Mapping) or part not in found:
            return default
        found = found[part]
    return found


def differences(runs: Sequence[Mapping]) -> list[Difference]:
    """The settings that differ between runs, in the order of the configs; a type comes before what belongs to it.

    Args:
        runs: Settings of each run.
    """
    return list(_compare('', [_comparable(run) for run in runs]))


def _comparable(run: Mapping) -> dict[str, Any]:
    """What a run trains, in the same words for each run."""
    what = {key: value for key, value in run.items() if key not in OF_THE_START}
    # A run without a seed differs in its seed from one with a seed, not in more.
    what['randomness'] = what.get('randomness') or {}
    # `train --skip-bad` trains with annotation files in the work dir.
    folder = f'{os.path.normpath(str(run.get("work_dir", "")))}/preflight/'

    def without_place(text: str) -> str:
        before, found, after = text.rpartition(folder)
        return f'WORK_DIR/preflight/{after}' if found and before[-1:] in ('', '/') else text

    return map_texts(what, without_place)


def map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A value with every text in it changed; keys stay."""
    if isinstance(value, Mapping):
        return {key: map_texts(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [map_texts(inner, change) for inner in value]
    return change(value) if isinstance(value, str) else value


def same_but_for_the_seed(one: Mapping, other: Mapping) -> bool:
    """Whether two runs trained the same with other random numbers.

    Weights may be named by the seed, as those of a classifier that was pretrained with each seed.
    """
    seeds = [str(at(one, SEED)), str(at(other, SEED))]
    return bool(one and other) and all(d.key == SEED or _named_by(seeds, d) for d in differences([one, other]))


def _named_by(seeds: list[str], difference: Difference) -> bool:
    """Whether two checkpoints have the same name but for the seed in it."""
    if not difference.key.endswith('.checkpoint') or not all(isinstance(v, str) for v in difference.values):
        return False
    parts = [re.split(r'(\d+)', value) for value in difference.values]
    return len(parts[0]) == len(parts[1]) and all(a == b or [a, b] == seeds for a, b in zip(*parts, strict=True))


def _compare(key: str, values: list[Any]):
    if _same(values):
        return
    if all(isinstance(value, Mapping) for value in values):
        for name in sorted(dict.fromkeys(name for value in values for name in value), key=lambda name: name != 'type'):
            yield from _compare(f'{key}.{name}' if key else str(name), [value.get(name, MISSING) for value in values])
    elif all(isinstance(value, list) for value in values) and _same([_types(value) for value in values]):
        for index, elements in enumerate(zip(*values, strict=True)):
            yield from _compare(f'{key}[{index}]', list(elements))
    else:
        yield Difference(key, tuple(values))


def _same(values: list) -> bool:
    return all(value == values[0] for value in values)


def _types(value: list) -> list:
    """The types of a list of dicts, such as a pipeline. Other lists are the same only as a whole."""
    return [element.get('type') if isinstance(element, Mapping) else element for element in value]


def written(value: Any, wrap: bool = False) -> str:
    """A value as Python writes it, with `ResNet(depth=50)` for `dict(type='ResNet', depth=50)`.

    Args:
        value: The value.
        wrap: Give a long dict or list a line for each entry.
    """
    if isinstance(value, Mapping):
        begin, end = f'{str(value.get("type", "dict")).split(".")[-1]}(', ')'
        inner = [f'{k}={written(v)}' for k, v in value.items() if k != 'type']
    elif isinstance(value, list):
        begin, end, inner = '[', ']', [written(element) for element in value]
    else:
        return repr(value)
    if wrap and sum(map(len, inner)) > 60:
        return f'{begin}\n  ' + ',\n  '.join(inner) + f'\n{end}'
    return f'{begin}{", ".join(inner)}{end}'
