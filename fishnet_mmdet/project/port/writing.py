"""Writes changes as a short config on its base."""

import keyword
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mmengine.config import Config

from fishnet_mmdet.project.port.edits import Edit, Variable, value_at, whole_lists
from fishnet_mmdet.project.source import as_comment, as_literal

WIDTH = 120


def config_text(config: Config, base: str, edits: Sequence[Edit], notes: Sequence[str]) -> str:
    """The file: its base, then every changed key, with a comment that says why.

    Args:
        config: The config of the base.
        base: What `_base_` says.
        edits: The changes.
        notes: Lines for the head of the file.
    """
    tree: dict[str, Any] = {}
    for edit in whole_lists(config, edits):
        edit = _replacing(config, edit)
        node = tree
        for key in edit.path[:-1]:
            node = node.setdefault(key, {})
        node[edit.path[-1]] = edit
    head = '"""FishNet in place of the ResNet of the base; written by `fishnet-mmdet port`."""\n\n'
    comments = ''.join(comment(note, 0) for note in notes)
    return f'{head}{comments}_base_ = {base!r}\n' + ''.join(_lines(key, node, 0) for key, node in tree.items())


def _replacing(config: Config, edit: Edit) -> Edit:
    """With MMEngine's mark on a dict that comes in place of something: it would merge two dicts, and refuse others."""
    if isinstance(edit.value, Mapping) and value_at(config, edit.path, {}) != {}:
        return replace(edit, value=dict(_delete_=True, **edit.value))
    return edit


def _lines(key: str, node: Mapping | Edit, indent: int) -> str:
    pad, equals, end = ' ' * indent, ('=' if indent else ' = '), ('' if indent == 0 else ',')
    if isinstance(node, Edit):
        why = comment(node.why, indent) if node.why else ''
        return f'{why}{pad}{key}{equals}{literal(node.value, indent, len(key) + len(equals) + 1)}{end}\n'
    inner = ''.join(_lines(k, v, indent + 4) for k, v in node.items())
    return f'{pad}{key}{equals}dict(\n{inner}{pad}){end}\n'


def comment(text: str, indent: int) -> str:
    """A comment, wrapped."""
    start = ' ' * indent + '# '
    text = as_comment(text)
    return textwrap.fill(text, WIDTH, initial_indent=start, subsequent_indent=start, break_long_words=False) + '\n'


def literal(value: Any, indent: int, used: int) -> str:
    """A value as Python, over several lines if it is long.

    Args:
        value: Dicts, lists, tuples and plain values.
        indent: Spaces in front of the line.
        used: Characters of the line that are taken.
    """
    flat = _flat(value)
    if indent + used + len(flat) <= WIDTH or not isinstance(value, Mapping | list | tuple):
        return flat
    pad, inner = ' ' * (indent + 4), indent + 4
    if isinstance(value, Mapping):
        named = _are_names(value)
        items = [(f'{k}=' if named else f'{k!r}: ', v) for k, v in value.items()]
        start, end = ('dict(', ')') if named else ('{', '}')
    else:
        items = [('', v) for v in value]
        start, end = ('[', ']') if isinstance(value, list) else ('(', ')')
    body = ''.join(f'{pad}{name}{literal(v, inner, len(name) + 1)},\n' for name, v in items)
    return f'{start}\n{body}{" " * indent}{end}'


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        if _are_names(value):
            return f'dict({", ".join(f"{k}={_flat(v)}" for k, v in value.items())})'
        return '{' + ', '.join(f'{k!r}: {_flat(v)}' for k, v in value.items()) + '}'
    if isinstance(value, Variable):
        return value.name
    if isinstance(value, list | tuple):
        inner = ', '.join(map(_flat, value))
        return f'[{inner}]' if isinstance(value, list) else f'({inner}{"," if len(value) == 1 else ""})'
    return as_literal(value) if isinstance(value, str) else repr(value)


def _are_names(value: Mapping) -> bool:
    return all(isinstance(k, str) and k.isidentifier() and not keyword.iskeyword(k) for k in value)
