"""Writes drawn pictures and videos; no two inputs get the same name."""

import errno
import os
import uuid
from pathlib import Path

import cv2
import numpy as np

from fishnet_mmdet.base.atomic import HALF_WRITTEN
from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.base.folders import why_not_writable
from fishnet_mmdet.deploy.infer.results import IMAGES, RESULTS

PICTURE_FOLDER = 'pictures'
WRITTEN = (RESULTS, IMAGES, PICTURE_FOLDER)
"""What inference writes to its folder."""

KEPT_ENDINGS = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
"""Endings of pictures that are written as they were read; to others, `.png` is added."""

DEFAULT_FPS = 25.0
"""Frames a second of a video whose source does not say it."""


def check_out(folder: Path, overwrite: bool) -> None:
    """Checks, before any work is done, that results can be written to a folder.

    Raises:
        UserError: It is not a folder, is not writable, or holds results already.
    """
    if reason := why_not_writable(folder):
        raise UserError(f'--out {folder} cannot be written to, because of {reason}')
    there = [name for name in WRITTEN if (folder / name).exists()]
    if there and not overwrite:
        raise UserError(f'--out {folder} holds {" and ".join(there)} already: name another folder, or add --overwrite')


def output_name(source: str, name: str, endings: tuple[str, ...], added: str) -> str:
    """The name of what is written for an input: that of the input, if its ending is one of `endings`.

    Args:
        source: Path of the input.
        name: Its name in the results.
        endings: Endings, in lower case, that are kept.
        added: The ending that is added to others.
    """
    if name.lower().endswith(endings):
        return name
    # Beside x.gif there may be an input x.gif.png.
    while os.path.lexists(f'{source}{added}'):
        added = f'_{added}'
    return f'{name}{added}'


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Writes a picture, (H, W, 3) in BGR order, in the format of its ending, or as PNG if it is too large for that.

    Raises:
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    is_encoded, content = cv2.imencode(path.suffix, picture)
    if not is_encoded:
        path = path.with_name(f'{path.name}.png')
        is_encoded, content = cv2.imencode('.png', picture)
    if not is_encoded:
        raise OSError(
            errno.EFBIG, f'{picture.shape[1]} x {picture.shape[0]} pixels are too large for a picture', str(path)
        )
    path.write_bytes(content)


class VideoFile:
    """A video, MPEG-4 in an .mp4 file, that gets its name when it is closed.

    Args:
        path: The file; its folder is created.
        fps: Frames a second.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, fps if 0 < fps < 1000 else DEFAULT_FPS
        # OpenCV chooses the container by the ending.
        self._half = path.with_name(f'.{uuid.uuid4().hex[:8]}{HALF_WRITTEN}.mp4')
        self._writer: cv2.VideoWriter | None = None

    def add(self, frame: np.ndarray) -> None:
        """Writes a frame, (H, W, 3), BGR; all frames have the size of the first.

        Raises:
            UserError: OpenCV cannot write the file.
        """
        height, width = frame.shape[:2]
        if self._writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            code = cv2.VideoWriter.fourcc(*'mp4v')
            self._writer = cv2.VideoWriter(str(self._half), code, self.fps, (width, height))
            self._size = (width, height)
            if not self._writer.isOpened():
                raise UserError(f'{self.path} cannot be written: this OpenCV has no MPEG-4, or the disk is full')
        if (width, height) != self._size:
            frame = cv2.resize(frame, self._size)
        self._writer.write(frame)

    def close(self, keep: bool = True) -> None:
        """Ends the video; without a frame, or if it is not to be kept, there is no file."""
        if self._writer is None:
            return
        self._writer.release()
        if keep:
            os.replace(self._half, self.path)
        else:
            self._half.unlink(missing_ok=True)
