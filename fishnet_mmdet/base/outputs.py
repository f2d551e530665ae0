"""Files that a user names to be written to: a file that cannot be written is a mistake of the user, not a crash."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.base.folders import why_not_writable


def check_output(flag: str, path: Path) -> None:
    """Checks, before any work is done, that a file can be written. Creates nothing.

    Args:
        flag: The flag that names the file.
        path: The file.

    Raises:
        UserError: It is a folder, or its folder cannot be written to or created.
    """
    if path.is_dir():
        raise UserError(f'{flag} {path} is a folder: name a file')
    if reason := why_not_writable(path.absolute().parent):
        raise UserError(f'{flag} {path} cannot be written: {reason}')


@contextmanager
def writing(flag: str, path: Path) -> Iterator[None]:
    """Context in which a file is written that a user has named.

    Args:
        flag: The flag that names the file.
        path: The file, or one that belongs to it.

    Raises:
        UserError: Instead of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f'{flag} {path} cannot be written: {error.strerror or error}') from error
