"""Opens image files, each once, in threads, and says which ones cannot be read."""

import os
import stat
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from fishnet_mmdet.preflight.image_cache import ImageCache, file_stamp
from fishnet_mmdet.preflight.readers import MAX_BYTES, Reader, is_cut, png_pixels

FORMATS = ('JPEG', 'PNG', 'BMP', 'GIF', 'JPEG2000', 'PPM', 'TIFF', 'WEBP')
"""Formats that Pillow is asked for. No others are tried, because Pillow starts a program for some of them."""

MAX_PIXELS = 2 * Image.MAX_IMAGE_PIXELS
"""178,956,970 pixels: above this, Pillow too takes an image for a decompression bomb. No larger image is decoded."""

DEFAULT_READER = Reader()

ORIENTATION = 0x0112
"""The EXIF tag that says how to rotate an image: 1 is not at all, 5 to 8 swap width and height."""


@dataclass(frozen=True, slots=True)
class ImageState:
    """What was found when an image file was opened.

    Attributes:
        problem: A kind of finding ('image-missing', ...), or '' for an image that can be read.
        detail: The problem in words.
        width: Stored width in pixels.
        height: Stored height in pixels.
        orientation: The EXIF orientation that a reader applies to the stored pixels; 1 for none.
        deep: Whether it has more than 8 bits a channel.
    """

    problem: str = ''
    detail: str = ''
    width: int = 0
    height: int = 0
    orientation: int = 1
    deep: bool = False


def inspect_image(path: Path | str, reader: Reader = DEFAULT_READER) -> ImageState:
    """Opens an image file and decodes it to the end.

    Pillow decodes it first, a JPEG at an eighth of its size: Pillow is strict about truncated files. What Pillow
    refuses for another reason, and every other format, is also decoded by the reader of the pipeline, which decides.

    Args:
        path: The file.
        reader: The reader of the pipeline.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return ImageState('image-broken', f'{path} is not a regular file')
        if not status.st_size:
            return ImageState('image-empty', f'{path} has zero bytes')
        return _inspect_file(path, status.st_size, reader)
    except FileNotFoundError:
        return ImageState('image-missing', f'{path} does not exist')
    # Raised if reading is not permitted or fails, or if the name is too long or invalid.
    except (OSError, ValueError) as error:
        return ImageState('image-broken', f'{path} cannot be opened: {getattr(error, "strerror", None) or error}')


def _inspect_file(path: Path | str, size: int, reader: Reader) -> ImageState:
    """What Pillow and, where it decides, the reader of the pipeline find in a file of `size` bytes."""
    with open(path, 'rb') as file:
        head = file.read(24)
    state, is_certain = _inspect_with_pillow(path, head)
    if is_certain and (state.problem or reader.backend in ('cv2', 'turbojpeg')):
        return state
    # Pillow would start a program for some formats, and refuses again what it has refused.
    if state.problem and (reader.backend == 'pillow' or size > MAX_BYTES):
        return state
    return _inspect_with_reader(path, state, reader)


def _inspect_with_pillow(path: Path | str, head: bytes) -> tuple[ImageState, bool]:
    """What Pillow finds in a file that begins with `head`, and whether OpenCV is certain to agree."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            state, has_sound_exif = _decode(path, image)
            is_plain = image.format == 'JPEG' and has_sound_exif and state.orientation == 1
            return state, bool(state.problem) or is_plain
    except Image.DecompressionBombError:
        return _too_large(path), True
    except Image.UnidentifiedImageError:
        text = f'{path} begins with {head[:12]}, as no {", ".join(FORMATS[:-1])} or {FORMATS[-1]} file does'
        return ImageState('image-broken', text), False
    # Pillow raises a dozen types of exceptions for damaged files.
    except Exception as error:
        if png_pixels(head) > MAX_PIXELS:
            return _too_large(path), True
        is_truncated = 'truncated' in str(error).lower()
        kind = 'image-truncated' if is_truncated else 'image-broken'
        return ImageState(kind, f'{path}: {error or type(error).__name__}'), is_truncated


def _inspect_with_reader(path: Path | str, state: ImageState, reader: Reader) -> ImageState:
    """What the reader of a pipeline finds in a file, given what Pillow found."""
    image, reason = reader.read(path)
    if image is None:
        if is_cut(Path(path).read_bytes()):
            return ImageState('image-truncated', f'{path} ends before its last block; {reason}')
        return state if state.problem else ImageState('image-broken', f'{path}: {reason}')
    height, width = image.shape[:2]
    if state.problem:
        return ImageState('', '', width, height)
    deep = state.deep and image.dtype == np.uint8
    if state.orientation != 1 and reader.applies_exif(path):
        return replace(state, deep=deep)
    return replace(state, width=width, height=height, orientation=1, deep=deep)


def _too_large(path: Path | str) -> ImageState:
    return ImageState('image-huge', f'{path} has more than {MAX_PIXELS:,} pixels')


def _decode(path: Path | str, image: ImageFile.ImageFile) -> tuple[ImageState, bool]:
    """Decodes an opened file: what was found, and whether its EXIF block can be read."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        return ImageState('image-huge', f'{path} is {width} x {height}: more than {MAX_PIXELS:,} pixels'), True
    # A PNG of 3 x 16 bits shows only in the raw mode.
    deep = image.mode[0] in 'IF' or ';16' in str(image.tile[:1])
    is_tiff = image.format == 'TIFF'
    image.draft('L', (1, 1))
    image.load()
    # Only the EXIF block counts: Pillow would look at XMP too, OpenCV does not.
    exif = Image.Exif()
    try:
        exif.load(image.info.get('exif', b''))
        # Pillow has rotated a TIFF when it opened it.
        orientation = 1 if is_tiff else exif.get(ORIENTATION, 1)
    # The pixels are whole. As for damaged files, there are a dozen types of exceptions.
    except Exception:
        return ImageState('', '', width, height, 1, deep), False
    return ImageState('', '', width, height, orientation if orientation in range(1, 9) else 1, deep), True


def leads_out(path: Path | str, trusted: Iterable[str]) -> str | None:
    """The real path of a file if it is not in a trusted folder, links followed; else None.

    Args:
        path: Path of a file, which need not exist.
        trusted: Real paths of folders.
    """
    try:
        real = os.path.realpath(path)
    # Raised for an invalid name, which `inspect_image` reports.
    except ValueError:
        return None
    return None if any(real.startswith(os.path.join(folder, '')) for folder in trusted) else real


def inspect_images(
    folder: Path,
    names: Iterable[str],
    trusted: Iterable[str] = (),
    advance: Callable[[], object] = lambda: None,
    opened: bool = True,
    reader: Reader = DEFAULT_READER,
) -> dict[str, ImageState]:
    """Inspects image files in threads. Files that have not changed since the last time come from the cache.

    Args:
        folder: Folder of the images.
        names: Names of the files below it.
        trusted: Real paths of further folders that a link in `folder` may lead to.
        advance: Called after each file.
        opened: Whether to open the files; if not, only their paths are checked.
        reader: The reader of the pipeline.

    Returns:
        The state of each file by name.
    """
    cache = ImageCache(folder)
    trusted = (cache.folder, *trusted)
    # Other readers may read other files.
    prefix = '' if reader == DEFAULT_READER else f'{reader.backend} {reader.flag} '

    def inspect(name: str) -> ImageState:
        path = os.path.join(folder, name)
        stamp = file_stamp(path)
        if real := leads_out(path, trusted):
            state = ImageState('path-escapes', f'{path} leads to {real}')
        elif not opened:
            state = ImageState()
        elif known := cache.get(prefix + name, stamp):
            state = ImageState('', '', *known)
        else:
            state = inspect_image(path, reader)
            # An image with a problem may be repaired by a permission or a link, which no stamp shows.
            if stamp and not state.problem:
                cache.put(prefix + name, stamp, (state.width, state.height, state.orientation, state.deep))
        advance()
        return state

    names = list(dict.fromkeys(names))
    with ThreadPoolExecutor() as pool:
        states = dict(zip(names, pool.map(inspect, names), strict=True))
    cache.save()
    return states
