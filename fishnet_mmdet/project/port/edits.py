"""Changes of a config: a value for a key, and why."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config, ConfigDict

from fishnet_mmdet.project.port.resnets import KeyPath


@dataclass(frozen=True)
class Edit:
    """One changed key.

    Attributes:
        path: Keys and indices that lead to it.
        value: Its new value. A dict replaces what was there.
        why: The reason, for the comment in the config and the line on the screen; may be empty.
    """

    path: KeyPath
    value: Any
    why: str = ''


@dataclass(frozen=True)
class Variable:
    """A value that a config defines once, under a name, and uses in several places.

    Attributes:
        name: The name.
        value: The value.
    """

    name: str
    value: Any

    def __deepcopy__(self, memo: dict) -> Any:
        # In a config in memory it is the value itself.
        return copy.deepcopy(self.value, memo)


def apply(config: Config, edits: Iterable[Edit]) -> Config:
    """A copy of a config with changes in it."""
    changed = copy.deepcopy(config)
    for edit in edits:
        node = changed
        for key in edit.path[:-1]:
            node = node[key] if isinstance(key, int) or key in node else node.setdefault(key, ConfigDict())
        node[edit.path[-1]] = copy.deepcopy(edit.value)
    return changed


def whole_lists(config: Config, edits: Sequence[Edit]) -> list[Edit]:
    """The same changes, with every list in which something changes as a whole: a config cannot change a part of one."""
    changed, result, done = apply(config, edits), [], set()
    for edit in edits:
        index = next((i for i, key in enumerate(edit.path) if isinstance(key, int)), None)
        if index is None:
            result.append(edit)
        elif (path := edit.path[:index]) not in done:
            done.add(path)
            reasons = dict.fromkeys(e.why for e in edits if e.path[:index] == path and e.why)
            result.append(Edit(path, value_at(changed, path), '; '.join(reasons)))
    return result


def mappings_at(config: Mapping, path: KeyPath) -> Iterator[tuple[KeyPath, Mapping]]:
    """Every mapping at or below a path, outer ones first, each with its own path."""
    node = value_at(config, path)
    if isinstance(node, Mapping):
        yield path, node
    if isinstance(node, Mapping | list | tuple):
        for key in node if isinstance(node, Mapping) else range(len(node)):
            yield from mappings_at(config, (*path, key))


def value_at(config: Mapping, path: KeyPath, default: Any = None) -> Any:
    """What a path leads to, or the default."""
    node: Any = config
    for key in path:
        try:
            node = node[key]
        except (KeyError, IndexError, TypeError):
            return default
    return node
