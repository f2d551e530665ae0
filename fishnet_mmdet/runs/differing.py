"""The settings that differ between two groups of runs, in a line."""

from collections.abc import Sequence

from fishnet_mmdet.runs.settings import MISSING, Difference, written

LONGEST_VALUE = 22
LONGEST_LINE = 420
"""Letters of a value that is shown, and of all settings that are named; the rest of them is counted."""


def differing(found: Sequence[Difference]) -> str:
    """Names settings, with the two values of each where they are short.

    Where the types differ, the settings of the two stand behind them, those that both have first:
    'backbone (FishNet, ResNet) with norm_cfg (BN, SyncBN) and depth (not set, 50); optimizer.lr (0.02, 0.01)'.

    Args:
        found: Settings with two values each.
    """
    parts, left_out, length = [], 0, 0
    for head, inner in _by_parent(found):
        name = _name(head.key, [d.key for d in found])
        shown = [f'{name}{_values(head)}']
        shown += [f'{_without_type(d.key.removeprefix(f"{_without_type(head.key)}."))}{_values(d)}' for d in inner]
        # As many as fit; the first one always.
        fitting = [text for i, text in enumerate(shown) if length + sum(map(len, shown[: i + 1])) <= LONGEST_LINE]
        fitting = fitting or shown[: 0 if parts else 1]
        left_out += len(shown) - len(fitting)
        length += sum(map(len, fitting))
        if fitting:
            parts.append(' with '.join(filter(None, [fitting[0], _listed(fitting[1:])])))
    return '; '.join(parts) + (f'; and {left_out} more' if left_out else '')


def _by_parent(found: Sequence[Difference]) -> list[tuple[Difference, list[Difference]]]:
    """The settings of a dict of another type stand behind the type."""
    parts: list[tuple[Difference, list[Difference]]] = []
    for d in found:
        parent = next((p for p in parts if _is_type(p[0]) and d.key.startswith(p[0].key.removesuffix('type'))), None)
        (parent[1].append(d) if parent else parts.append((d, [])))
    for _, inner in parts:
        inner.sort(key=lambda d: MISSING in d.values)
    return parts


def _is_type(d: Difference) -> bool:
    return d.key.endswith('.type')


def _without_type(key: str) -> str:
    return key.removesuffix('.type')


def _name(key: str, others: Sequence[str]) -> str:
    """The end of a key that no other one has: two parts, of a type one."""
    parts, others = _without_type(key).split('.'), [_without_type(other) for other in others if other != key]
    for count in range(1 if key.endswith('.type') else 2, len(parts)):
        end = '.'.join(parts[-count:])
        if not any(other == end or other.endswith(f'.{end}') for other in others):
            return end
    return '.'.join(parts)


def _values(d: Difference) -> str:
    """The values, if they are short."""
    texts = [
        'not set' if value is MISSING else value if isinstance(value, str) else written(value) for value in d.values
    ]
    texts = [text.split('.')[-1] for text in texts] if _is_type(d) else texts
    return f' ({", ".join(texts)})' if max(map(len, texts)) <= LONGEST_VALUE else ''


def _listed(texts: Sequence[str]) -> str:
    return ' and '.join(filter(None, [', '.join(texts[:-1]), *texts[-1:]]))
