"""Writes files and folders atomically: whole or not at all."""

import errno
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

HALF_WRITTEN = '.fishnet-part'
"""Ending of the hidden file that is written first and renamed when it is complete."""

CHUNK = 4 * 2**20
"""Bytes that are written at once."""


def write_atomically(path: Path | str, content: bytes) -> None:
    """Writes a file atomically; see `atomic_file`.

    Args:
        path: The file. Its folder is created if necessary.
        content: The content of the file.

    Raises:
        OSError: The file cannot be written. The old file is unchanged, and no incomplete file stays behind.
    """
    with atomic_file(path) as file:
        for start in range(0, len(content), CHUNK):
            file.write(memoryview(content)[start : start + CHUNK])


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Context with an empty folder beside `path`, which replaces it at the end.

    Args:
        path: The folder. The one above it is created if necessary.

    Yields:
        The folder to write to.

    Raises:
        OSError: It cannot be written. After any error, `path` is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix='.fishnet-') as scratch:
        made = Path(scratch) / 'made'
        made.mkdir()
        yield made
        shutil.rmtree(path, ignore_errors=True)
        made.rename(path)  # one move, because both are on the same file system


@contextmanager
def atomic_file(path: Path | str) -> Iterator[BinaryIO]:
    """Context with an open file that gets its name at the end.

    After a crash or a power cut the file has the old content or the new, complete and on disk. A new file gets the mode
    that the umask allows, and an existing one keeps its mode. A link stays a link.

    Args:
        path: The file. Its folder is created if necessary.

    Yields:
        The file, open for writing.

    Raises:
        OSError: The file cannot be written. After any error, the old file is unchanged, and no incomplete file stays
            behind.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f'.{path.name}.{uuid.uuid4().hex[:8]}{HALF_WRITTEN}')
    try:
        with half.open('xb') as file:
            yield file
            file.flush()
            if path.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            os.fsync(file.fileno())
        os.replace(half, path)
    except BaseException as error:
        half.unlink(missing_ok=True)
        # Errors of writing name no file, or the hidden one. The caller may also fail for a reason of its own.
        if isinstance(error, OSError) and error.filename in (None, str(half)):
            error.filename = str(path)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        # The new name, too, must survive a power cut.
        os.fsync(folder)
    except OSError as error:
        # Some network file systems do not support this.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(folder)


def clear_half_written(*folders: Path | str) -> list[Path]:
    """Removes the incomplete hidden files that a killed run left behind, and no other files.

    Args:
        folders: Folders in which to look.

    Returns:
        The files that were removed.
    """
    paths = sorted({path for folder in folders for path in Path(folder).glob(f'.*{HALF_WRITTEN}')})
    for path in paths:
        path.unlink(missing_ok=True)
    return paths
