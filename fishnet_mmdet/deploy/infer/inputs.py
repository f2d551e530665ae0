"""From what a user names (files, folders, patterns, a camera) to the files to predict on."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2

from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.base.folders import walk
from fishnet_mmdet.deploy.infer.outputs import WRITTEN

PICTURES = ('.jpg', '.jpeg', '.jfif', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm', '.pnm', '.jp2', '.gif')
"""Endings of pictures. A file with another ending is one if OpenCV knows its first bytes."""

VIDEOS = ('.mp4', '.m4v', '.mov', '.avi', '.mkv', '.webm', '.mpg', '.mpeg', '.wmv', '.flv', '.ogv', '.3gp', '.mts')
"""Endings of videos. No file with another ending is opened as one."""

IGNORED = {'thumbs.db', 'desktop.ini'}
"""Files that a file manager leaves in folders, apart from hidden ones."""

Kind = Literal['picture', 'video', 'camera']


@dataclass
class Inputs:
    """What to predict on, in order.

    Attributes:
        kinds: The kind of each input by its absolute path; of a camera, by its number.
        folder: The deepest folder that all files share. Names in the results are relative to it.
        passed_over: Path and reason of what was found and is neither a picture nor a video.
        named: The paths of these files.
    """

    kinds: dict[str, Kind] = field(default_factory=dict)
    folder: str = ''
    passed_over: list[tuple[str, str]] = field(default_factory=list)
    named: set[str] = field(default_factory=set)

    def of_kind(self, kind: Kind) -> list[str]:
        """The inputs of one kind."""
        return [path for path, each in self.kinds.items() if each == kind]

    def name(self, path: str) -> str:
        """The name of an input in the results."""
        if self.kinds[path] == 'camera':
            return f'camera{path}'
        return Path(os.path.relpath(path, self.folder)).as_posix()


def find_inputs(given: Sequence[str | Path], out: str | Path | None = None) -> Inputs:
    """Finds the pictures and videos that a user means. Only names are held; no picture is opened.

    Args:
        given: Files; folders, with all folders in them; patterns with `*`, `?`, `[` or `**`; a camera by its number. A
            file that is named twice counts once.
        out: The folder of the results. What an earlier call wrote there is left out.

    Raises:
        UserError: A file does not exist or lies where drawn pictures will be written, nothing fits a pattern, a folder
            holds no file, a camera cannot be opened, or nothing is a picture or a video.
    """
    if not given:
        raise UserError('name at least one picture, folder or video')
    found, folders = Inputs(), []
    results = [os.path.abspath(os.path.join(out, name)) for name in WRITTEN] if out else []
    for one in map(str, given):
        if one.isdecimal() and not os.path.lexists(one):
            _check_camera(int(one))
            found.kinds[one] = 'camera'
            continue
        empty, replaced = True, False
        for path in map(os.path.abspath, _named(one)):
            folders.append(path if os.path.isdir(path) else os.path.dirname(path))
            for file in _files(path, found.passed_over):
                if any(file == result or file.startswith(f'{result}{os.sep}') for result in results):
                    replaced = True
                else:
                    _add(file, found)
                    empty = False
        if empty and replaced:
            raise UserError(f'{one}: results would be written over it: choose another folder than --out {out}')
        if empty:
            raise UserError(f'{one}: the folder holds no files to predict on')
    found.folder = os.path.commonpath(folders) if folders else ''
    if not found.kinds:
        first, reason = found.passed_over[0]
        raise UserError(f'no picture and no video among {len(found.passed_over)} files; {first}: {reason}')
    return found


def _named(one: str) -> list[str]:
    """The files and folders that an argument names; a pattern may name several."""
    if os.path.exists(one):
        return [one]
    if '://' in one:
        raise UserError(f'{one}: addresses are not read. Download the file first')
    if not glob.has_magic(one):
        raise UserError(f'input not found: {os.path.abspath(one)} does not exist')
    if not (paths := sorted(glob.glob(one, recursive=True))):
        raise UserError(f'{one}: no file has such a name')
    # Of `**`, the folders too, whose files are named themselves.
    return [path for path in paths if os.path.isfile(path)] or paths


def _files(path: str, failed: list[tuple[str, str]]) -> Iterator[str]:
    """The files of a folder and the folders in it, sorted, without hidden ones; a file itself."""
    if not os.path.isdir(path):
        yield path
        return
    for folder, names in walk(path, lambda error: failed.append((error.filename, error.strerror))):
        yield from (os.path.join(folder, name) for name in names if name.lower() not in IGNORED)


def _add(path: str, found: Inputs) -> None:
    ending = os.path.splitext(path)[1].lower()
    if ending in VIDEOS:
        found.kinds[path] = 'video'
    elif ending in PICTURES or _is_picture(path):
        found.kinds[path] = 'picture'
    elif path not in found.named:
        found.named.add(path)
        found.passed_over.append((path, 'neither a picture nor a video'))


def _is_picture(path: str) -> bool:
    try:
        return os.path.isfile(path) and cv2.haveImageReader(path)
    except cv2.error:
        return False


def _check_camera(number: int) -> None:
    camera = cv2.VideoCapture(number)
    is_open = camera.isOpened()
    camera.release()
    if not is_open:
        raise UserError(f'camera {number} cannot be opened by OpenCV. For a file of this name, write ./{number}')
