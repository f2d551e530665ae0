"""Files that are there whole or not at all."""

import errno
import os
import stat
import uuid
from pathlib import Path

HALF_WRITTEN = '.fishnet-part'
"""How the hidden file ends that becomes a checkpoint once it is whole."""

CHUNK = 4 * 2**20


def write_atomically(path: Path | str, content: bytes) -> None:
    """Writes a file so that whatever happens there is the old content or the new, whole and on the disk.

    A new file gets the mode bits that the umask leaves, an existing one keeps its own; a link stays a link.

    Args:
        path: Of the file; its folder is made if need be.
        content: The file's.

    Raises:
        OSError: It cannot be written; what was there before is untouched, and nothing half-written is left.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f'.{path.name}.{uuid.uuid4().hex[:8]}{HALF_WRITTEN}')
    try:
        with half.open('xb') as file:
            for start in range(0, len(content), CHUNK):
                file.write(memoryview(content)[start : start + CHUNK])
            file.flush()
            if path.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            os.fsync(file.fileno())
        os.replace(half, path)
    except BaseException as error:
        half.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name too must outlast a power cut
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems know no such thing
            raise
    finally:
        os.close(folder)


def clear_half_written(*folders: Path | str) -> list[Path]:
    """Removes what a killed run had begun to write under hidden names of ours; nothing else.

    Returns:
        What was removed.
    """
    paths = sorted({path for folder in folders for path in Path(folder).glob(f'.*{HALF_WRITTEN}')})
    for path in paths:
        path.unlink(missing_ok=True)
    return paths
