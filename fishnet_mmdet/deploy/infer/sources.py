"""Reads pictures ahead of the model, and videos frame by frame; memory does not grow with their number."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import cv2

from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.deploy.infer.reading import UnreadableImage

THREADS = 2
AHEAD = 2
"""Pictures that are read beyond the next batch."""

TOLERATED = 0.02
"""Share of its stated frames that a video may lack: containers only estimate them."""

Loaded = dict[str, Any]


def read_ahead(
    read: Callable[[str], Loaded], paths: Iterable[str], batch: int
) -> Iterator[tuple[str, Loaded | UnreadableImage]]:
    """Reads pictures in threads, in order.

    Args:
        read: Reads one.
        paths: The files.
        batch: How many the caller takes at once.

    Yields:
        Each path with what was read, or with the error.
    """
    waiting: deque[tuple[str, Future]] = deque()
    pool = ThreadPoolExecutor(THREADS)
    try:
        for path in paths:
            waiting.append((path, pool.submit(read, path)))
            if len(waiting) > batch + AHEAD:
                yield _outcome(*waiting.popleft())
        while waiting:
            yield _outcome(*waiting.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _outcome(path: str, future: Future) -> tuple[str, Loaded | UnreadableImage]:
    try:
        return path, future.result()
    except UnreadableImage as error:
        return path, error


class Video:
    """A video file or a camera that OpenCV reads.

    Args:
        source: Path of the file, or number of the camera.

    Attributes:
        fps: Frames a second; 0 if not known.
        count: Number of frames that the file states; 0 if it states none.
        read: Number of frames that were read so far.

    Raises:
        UnreadableImage: OpenCV cannot open it.
    """

    def __init__(self, source: str | int) -> None:
        self.source = source
        self._capture = cv2.VideoCapture(source)
        if not self._capture.isOpened():
            raise UnreadableImage(f'{source}: OpenCV does not read it as a video')
        self.fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.count = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.read = 0

    def __iter__(self) -> Iterator:
        """Yields the frames, (H, W, 3), uint8, BGR, rotated as the file says."""
        while True:
            is_there, frame = self._capture.read()
            if not is_there:
                return
            self.read += 1
            yield frame

    def problem(self) -> str | None:
        """Says, when no frame is left, whether frames are missing."""
        if isinstance(self.source, int):
            return None
        if not self.read:
            return 'OpenCV reads no frame of it'
        if self.read < self.count * (1 - TOLERATED) - 1:
            return f'it ends after {self.read} of {self.count} frames; these are in the results'
        return None

    def close(self) -> None:
        """Closes the file or the camera."""
        self._capture.release()


def batches(items: Iterable, size: int) -> Iterator[list]:
    """Yields lists of `size` items; the last may be shorter."""
    items = iter(items)
    return iter(lambda: list(islice(items, size)), [])


def check_batch(batch: int) -> None:
    """Checks a batch size.

    Raises:
        UserError: It is not positive.
    """
    if batch < 1:
        raise UserError(f'batch = {batch} must be at least 1')
