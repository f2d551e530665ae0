"""What several rooms ask about folders: what is in one, and whether it can be written to."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path


def walk(root: Path | str, on_error: Callable[[OSError], object] | None = None) -> Iterator[tuple[Path, list[str]]]:
    """Yields a folder and each folder below it, with the sorted names of its files. Hidden ones are left out.

    Links are followed; a folder to which several paths lead is visited once, so that a circle ends.

    Args:
        root: The folder to begin with.
        on_error: Called with the error where a folder cannot be read. Default: such a folder is left out.
    """
    seen = set()
    for path, folders, names in os.walk(root, followlinks=True, onerror=on_error):
        real = os.path.realpath(path)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        yield Path(path), sorted(name for name in names if not name.startswith('.'))


def why_not_writable(folder: Path) -> str | None:
    """Why a folder cannot be written to or created, such as '/data: it is not a folder'; None if it can.

    Creates nothing: a command that fails early leaves no folder.
    """
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    if not existing.is_dir():
        return f'{existing}: it is not a folder'
    if not os.access(existing, os.W_OK | os.X_OK):
        return f'{existing}: you have no permission to write there'
    return None
