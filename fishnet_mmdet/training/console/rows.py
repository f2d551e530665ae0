"""Rows of the first screen: a name, and a text that wraps beside it."""

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path

from fishnet_mmdet.base.text import printable

NAME_WIDTH = 11
WIDTH = 80
Row = tuple[str, str]


def row_lines(name: str, text: str, width: int) -> list[tuple[str, str]]:
    """Divides a row into lines, each with the column of the name and that of the text.

    Paths that are longer than a line stay whole, so that they can be copied.

    Args:
        name: What stands at the left of the first line.
        text: The text; characters that a terminal would obey are escaped.
        width: Characters of a line.
    """
    room = max(20, width - NAME_WIDTH - 1)
    lines = wrapped(printable(text), room) or ['']
    return [(f'{name if number == 0 else "":<{NAME_WIDTH}}', line) for number, line in enumerate(lines)]


def wrapped(text: str, width: int) -> list[str]:
    """The lines of a paragraph. Words that are longer than a line stay whole."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def short_path(path: str | Path) -> str:
    """A path from the current folder, if it lies below, else the whole path."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith('..') else relative


def listed(names: Sequence[str], room: int = 48) -> str:
    """Names in a row; those that have no room are counted."""
    taken = 0
    while taken < len(names) and len(', '.join(map(str, names[: taken + 1]))) <= room:
        taken += 1
    taken = max(taken, min(1, len(names)))
    more = len(names) - taken
    return ', '.join(map(str, names[:taken])) + (f' and {more} more' if more else '')
