"""Remembers which image files were readable, until they change."""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from fishnet_mmdet.base.atomic import write_atomically

VERSION = 3

Facts = tuple[int, int, int, bool]
"""Width, height, EXIF orientation, and whether an image has more than 8 bits."""


class ImageCache:
    """The readable images of one folder by name, each with its file's size and times of change.

    It is a file in the user's cache folder and may be deleted at any time. It is replaced in one step: if two processes
    write, one of them wins, and the images of the other are opened again. A damaged file counts as empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder.resolve())
        self.path = cache_folder() / f'{hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:32]}.json'
        self.is_new = False
        self.entries = self._read()

    def get(self, name: str, stamp: list[int] | None) -> Facts | None:
        """What is known of a file, if it still has that stamp."""
        entry = self.entries.get(name)
        return tuple(entry[3:]) if entry and entry[:3] == stamp else None

    def put(self, name: str, stamp: list[int], facts: Facts) -> None:
        """Remembers a readable image."""
        self.is_new = True
        self.entries[name] = [*stamp, *facts]

    def save(self) -> None:
        """Writes the cache if something is new. If that fails, the only effect is that the next check takes longer."""
        if not self.is_new:
            return
        content = {'version': VERSION, 'folder': self.folder, 'images': {**self._read(), **self.entries}}
        with suppress(OSError):
            write_atomically(self.path, json.dumps(content).encode())

    def _read(self) -> dict[str, list]:
        try:
            content = json.loads(self.path.read_text())
            images = content['images'] if content['version'] == VERSION else {}
            return {name: entry for name, entry in images.items() if _is_valid(entry)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}


def _is_valid(entry: object) -> bool:
    """Whether an entry of the file has the types of a stamp and of `Facts`."""
    return isinstance(entry, list) and [type(part) for part in entry] == [int] * 6 + [bool]


def file_stamp(path: str) -> list[int] | None:
    """Size and times of change of a file; None if it cannot be found.

    A copy can keep the time of the last change (`rsync -t`), but not the time at which the file's record changed.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def cache_folder() -> Path:
    """The folder of all caches: fishnet_mmdet/images below $XDG_CACHE_HOME, or below ~/.cache."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'fishnet_mmdet' / 'images'
