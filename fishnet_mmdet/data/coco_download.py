"""Downloads COCO 2017, checks it and unpacks it to the folders that the configs expect."""

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TimeRemainingColumn,
)

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.base.folders import why_not_writable
from fishnet_mmdet.base.hashes import file_hash
from fishnet_mmdet.base.transfer import Transfer, TransferError
from fishnet_mmdet.base.unpacking import members_below, missing, unpack
from fishnet_mmdet.data.coco_files import MIRROR, CocoPart

RECORDS = '.get-coco'
"""Folder with one file for each part that is complete: the sizes of its files."""

WORK = 64 * 2**20
"""Bytes beyond the files themselves, for their folders and for the records."""


class CocoDownload:
    """A download of COCO to a folder, which a later call continues.

    Args:
        root: The folder, such as data/coco.
        mirror: Address of a copy of images.cocodataset.org, https or on this machine.
        keep_archives: Whether the archives stay after they are unpacked.
        check_space: Whether to stop before anything is downloaded if the disk is too small.
    """

    def __init__(self, root: Path, mirror: str = MIRROR, keep_archives: bool = False, check_space: bool = True) -> None:
        self.root, self.mirror = root, mirror.rstrip('/')
        self.keep_archives, self.check_space = keep_archives, check_space

    def get(self, parts: Sequence[CocoPart]) -> None:
        """Brings the parts that are not complete.

        Raises:
            UserError: Too little space, no connection, another file than COCO's, a file in the way, or another call
                works in the same folder.
        """
        if reason := why_not_writable(self.root):
            raise UserError(f'{self.root} cannot be written to, because of {reason}: name another folder')
        (self.root / RECORDS).mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.root / RECORDS / 'lock', timeout=0):
                self._get(parts)
        except Timeout as error:
            raise UserError(f'another get-coco is at work in {self.root}: wait for its end') from error

    def _get(self, parts: Sequence[CocoPart]) -> None:
        wanted = [part for part in parts if not self._is_complete(part)]
        if wanted and self.check_space:
            self._check_space(wanted)
        for part in wanted:
            archive = self._obtain(part)
            self._unpack(part, archive)
            if not self.keep_archives:
                archive.unlink()
            print(f'{part.name}: {part.files:,} files in {self.root / part.name}', flush=True)

    def _is_complete(self, part: CocoPart) -> bool:
        """Whether every file is there: with its size if this command unpacked it, else by their number alone."""
        record = self._record(part)
        if record.is_file():
            sizes = json.loads(record.read_text())
            wrong = [name for name, size in sizes.items() if _size(self.root / name) != size]
            if not wrong:
                print(f'{part.name}: complete, {len(sizes):,} files with the sizes that they were unpacked with')
                return True
            print(f'{part.name}: {len(wrong):,} of {len(sizes):,} files are missing or changed, such as {wrong[0]}')
            return False
        folder = self.root / part.name
        # An archive that is there was not unpacked to its end.
        if self._archive(part).exists() or not folder.is_dir():
            return False
        there = {entry.name for entry in os.scandir(folder) if not entry.name.startswith('.')}
        if len(there) < part.files or not there.issuperset(part.needed):
            return False
        print(f'{part.name}: {len(there):,} files are there already; this command did not unpack or check them')
        return True

    def _check_space(self, parts: Sequence[CocoPart]) -> None:
        """An archive is removed before the next one comes, unless archives are kept."""
        used = needed = 0
        for part in parts:
            rest = part.size - max(map(_size_or_0, (self._archive(part), self._partial(part))))
            needed = max(needed, used + rest + part.unpacked)
            used += part.unpacked + (rest if self.keep_archives else rest - part.size)
        free = shutil.disk_usage(self.root).free
        if needed + WORK > free:
            raise UserError(
                f'{", ".join(part.name for part in parts)} need about {(needed + WORK) / 1e9:.1f} GB, and the disk of '
                f'{self.root} has {free / 1e9:.1f} GB free: make room, name another folder, or choose parts with '
                '--only (--any-space tries it all the same)'
            )

    def _obtain(self, part: CocoPart) -> Path:
        """The archive, downloaded and with its checksum compared; one that was put there by hand is taken."""
        path, partial = self._archive(part), self._partial(part)
        if path.exists():
            if problem := self._problem(part, path):
                raise UserError(f'{path}: {problem}. Delete it, and try again')
            return path
        url = f'{self.mirror}/{part.place}'
        try:
            Transfer(url, partial, max_bytes=part.size, size=part.size).run()
        except TransferError as error:
            raise UserError(f'{url}: {error}. The same command continues') from error
        if problem := self._problem(part, partial):
            partial.unlink()
            raise UserError(f'{url}: {problem}. The download is removed: try again, or another --mirror')
        os.replace(partial, path)
        return path

    def _problem(self, part: CocoPart, path: Path) -> str | None:
        size = path.stat().st_size
        if size != part.size:
            return f'{size:,} bytes instead of {part.size:,}'
        with _progress(f'checksum of {part.archive}', size, DownloadColumn()) as advance:
            actual = file_hash(path, progress=advance)
        return None if actual == part.sha256 else f'wrong checksum: sha256 {actual} instead of {part.sha256}'

    def _unpack(self, part: CocoPart, path: Path) -> None:
        try:
            archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise UserError(f'{path}: {error}') from error
        with archive:
            files = members_below(archive, part.name)
            if len(files) != part.files:
                raise UserError(f'{path} has {len(files):,} files instead of {part.files:,}')
            with _progress(f'looking for {part.name}', len(files), MofNCompleteColumn()) as advance:
                absent = missing(files, self.root, advance)
            self._check_exact_space(part, sum(info.file_size for info in absent))
            with _progress(f'unpacking {part.name}', len(absent), MofNCompleteColumn()) as advance:
                unpack(archive, absent, self.root, advance)
            # The archive is removed after this: its files must survive a power cut.
            os.sync()
            sizes = {info.filename: info.file_size for info in files}
            write_atomically(self._record(part), json.dumps(sizes).encode())

    def _check_exact_space(self, part: CocoPart, needed: int) -> None:
        free = shutil.disk_usage(self.root).free
        if self.check_space and needed > free:
            raise UserError(
                f'{part.name}: {needed:,} bytes to unpack, {free:,} free on the disk of {self.root}. Make room: the '
                'same command continues (--any-space tries it all the same)'
            )

    def _archive(self, part: CocoPart) -> Path:
        return self.root / part.archive

    def _partial(self, part: CocoPart) -> Path:
        return self.root / f'{part.archive}.part'

    def _record(self, part: CocoPart) -> Path:
        return self.root / RECORDS / f'{part.name}.json'


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _size_or_0(path: Path) -> int:
    return _size(path) or 0


@contextmanager
def _progress(what: str, total: int, amount: ProgressColumn) -> Iterator[Callable[[int], None]]:
    """A progress bar; yields the function that sets it."""
    with Progress('{task.description}', BarColumn(), amount, TimeRemainingColumn()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
