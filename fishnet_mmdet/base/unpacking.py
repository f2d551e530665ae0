"""Unpacks a zip archive: nothing outside its folder, nothing half-written, nothing replaced."""

import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from fishnet_mmdet.base.atomic import HALF_WRITTEN
from fishnet_mmdet.base.errors import UserError

CHUNK = 2**20


class ArchiveError(UserError):
    """An archive that is not unpacked, or not further; the message names the member and the reason."""


def members_below(archive: zipfile.ZipFile, folder: str) -> list[zipfile.ZipInfo]:
    """The files of an archive, after a check that all of them lie in one folder.

    Args:
        archive: The open archive.
        folder: The folder in which every file must lie.

    Raises:
        ArchiveError: A member lies elsewhere, is a link or another special file, is encrypted, or is there twice.
    """
    files: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        if problem := _problem(info, folder) or ('it is there twice' if info.filename in files else None):
            raise ArchiveError(f'{archive.filename}: member {info.filename!r} is refused: {problem}')
        if not info.is_dir():
            files[info.filename] = info
    return list(files.values())


def _problem(info: zipfile.ZipInfo, folder: str) -> str | None:
    path = PurePosixPath(info.filename)
    if path.is_absolute() or '..' in path.parts or '\\' in info.filename or ':' in info.filename:
        return 'its path leaves the folder'
    if path.parts[:1] != (folder,):
        return f'it is not in {folder}/'
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return 'it is a link or another special file'
    return 'it is encrypted' if info.flag_bits & 1 else None


def missing(files: list[zipfile.ZipInfo], root: Path, progress: Callable[[int], object]) -> list[zipfile.ZipInfo]:
    """The files of an archive that are not there yet.

    Args:
        files: From `members_below`.
        root: Where the folder lies.
        progress: Called with the number of files looked at.

    Raises:
        ArchiveError: A file is there with another content. It is not replaced: it may be the user's own.
    """
    absent = []
    for number, info in enumerate(files, start=1):
        path = root / info.filename
        if not os.path.lexists(path):
            absent.append(info)
        elif not path.is_file() or path.stat().st_size != info.file_size or _crc(path) != info.CRC:
            raise ArchiveError(f'{path} differs from the file in the archive: move it away or delete it, and try again')
        progress(number)
    return absent


def unpack(
    archive: zipfile.ZipFile, files: list[zipfile.ZipInfo], root: Path, progress: Callable[[int], object]
) -> None:
    """Unpacks files. Each gets its name when it is complete and its checksum is right.

    Args:
        archive: The open archive.
        files: Which files, from `missing`.
        root: Where the folder lies.
        progress: Called with the number of files unpacked.

    Raises:
        ArchiveError: A file is damaged in the archive, or cannot be written.
    """
    for number, info in enumerate(files, start=1):
        path = root / info.filename
        half = path.with_name(f'.{path.name}{HALF_WRITTEN}')
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # zipfile compares size and checksum while it reads.
            with archive.open(info) as packed, half.open('wb') as file:
                shutil.copyfileobj(packed, file, CHUNK)
            os.replace(half, path)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise ArchiveError(f'{archive.filename}: member {info.filename!r} cannot be unpacked: {error}') from error
        except OSError as error:
            raise ArchiveError(f'{path} cannot be written: {error.strerror}') from error
        finally:
            half.unlink(missing_ok=True)
        progress(number)


def _crc(path: Path) -> int:
    crc = 0
    with path.open('rb') as file:
        while chunk := file.read(CHUNK):
            crc = zlib.crc32(chunk, crc)
    return crc
