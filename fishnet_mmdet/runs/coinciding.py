"""Curves that lie on each other, such as the learning rate of all runs: one would hide the others."""

from collections.abc import Sequence

import numpy as np

from fishnet_mmdet.runs.panels import Line, Panel

NEAR = 0.004
"""Part of the height of the axes within which curves coincide: less than the width of a line."""

MOST_PLACES = 200
LONGEST_NOTE = 64


def coinciding(panel: Panel) -> list[list[Line]]:
    """The curves of a panel in sets that lie on each other; a curve that lies alone is a set of one."""
    height = _height(panel)
    sets: list[list[Line]] = []
    for line in panel.lines:
        same = next((found for found in sets if _coincide(found[0], line, panel.log, NEAR * height)), None)
        (same.append(line) if same else sets.append([line]))
    return sets


def note(panel: Panel, sets: Sequence[Sequence[Line]]) -> str:
    """Which curves lie on each other, in words; '' if none do."""
    several = [found for found in sets if len(found) > 1]
    if not several:
        return ''
    if len(sets) == 1:
        return 'both runs coincide' if len(panel.lines) == 2 else f'all {len(panel.lines)} runs coincide'
    names = {line.group: line.label for line in panel.lines if line.label}
    parts = []
    for found in several:
        groups = dict.fromkeys(names[line.group] for line in found)
        parts.append(f'{len(found)} runs of {" and ".join(groups)}')
    text = f'coincide: {"; ".join(parts)}'
    hidden = sum(len(found) for found in several)
    return (
        text if len(text) <= LONGEST_NOTE else f'{hidden} of {len(panel.lines)} runs coincide in {len(several)} curves'
    )


def _coincide(one: Line, other: Line, log: bool, near: float) -> bool:
    """Whether the shorter of two curves lies on the longer one, and covers at least half of it."""
    begin, end = max(one.x[0], other.x[0]), min(one.x[-1], other.x[-1])
    longest = max(one.x[-1] - one.x[0], other.x[-1] - other.x[0])
    if end < begin or end - begin < longest / 2:
        return False
    places = np.linspace(begin, end, MOST_PLACES)
    values = [np.interp(places, line.x, _heights(line, log)) for line in (one, other)]
    return bool(np.all(np.abs(values[0] - values[1]) <= near))


def _heights(line: Line, log: bool) -> np.ndarray:
    values = np.asarray(line.smooth or line.y, float)
    return np.log(values) if log else values


def _height(panel: Panel) -> float:
    """Height of what is drawn, in the unit of the y axis."""
    values = np.concatenate([_heights(line, panel.log) for line in panel.lines])
    return float(values.max() - (0 if panel.from_zero else values.min()))
