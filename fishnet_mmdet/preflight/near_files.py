"""Finds the file that was probably meant by a name that does not exist."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

ENDINGS = ('.jpg', '.jpeg', '.png')


class NearFiles:
    """The files of an image folder, to look up names that differ only in how they are written.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._listings: dict[str, dict[str, str]] = {}

    def find(self, name: str) -> str | None:
        """Says in words which file was probably meant, or returns None.

        Args:
            name: A file name below the folder that does not exist.
        """
        for candidate, difference in _candidates(self.folder, name):
            if found := self._existing(candidate):
                text = difference if found == candidate else f'{difference or ""} is written in other letters'.strip()
                if found != name:
                    return f'{name!r} {text}; {self.folder / found} exists'
        return None

    def _existing(self, name: str) -> str | None:
        """The name of a file below the folder, in upper and lower case as on disk; None if there is none."""
        path = PurePosixPath(name)
        if path.is_absolute() or '..' in path.parts or not path.parts:
            return None
        parent, last = str(path.parent), path.name
        if parent not in self._listings:
            try:
                entries = os.listdir(self.folder / parent)
            # Raised for a folder that does not exist or cannot be read, and for an invalid name.
            except (OSError, ValueError):
                entries = []
            self._listings[parent] = {entry.lower(): entry for entry in entries} | {entry: entry for entry in entries}
        listing = self._listings[parent]
        found = listing.get(last) or listing.get(last.lower())
        return str(path.parent / found) if found else None


def _candidates(folder: Path, name: str) -> Iterator[tuple[str, str]]:
    """Other ways to write a name, each with the difference in words."""
    yield name, ''
    parts = PurePosixPath(name.replace('\\', '/')).parts
    if '\\' in name:
        yield from (('/'.join(parts[first:]), 'has backslashes') for first in range(len(parts)))
    elif len(parts) > 1 and parts[0] in folder.resolve().parts[-2:]:
        yield '/'.join(parts[1:]), f'repeats the folder {parts[0]!r} of data_prefix'
    yield unquote(name), 'is encoded as in a web address'
    yield name.strip(), 'has spaces around it'
    stem = str(PurePosixPath(name).with_suffix('')) if parts else name
    for ending in ENDINGS:
        yield stem + ending, 'has another ending'
        yield name + ending, 'has no ending'
