"""Opens image files, each once, in threads, and says which ones cannot be read."""

import os
import stat
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageFile

from fishnet_mmdet.preflight.image_cache import ImageCache, file_stamp

FORMATS = ('JPEG', 'PNG', 'BMP', 'GIF', 'JPEG2000', 'PPM', 'TIFF', 'WEBP')
"""Formats that Pillow and OpenCV both read. No others are tried, because Pillow starts a program for some of them."""

MAX_PIXELS = 2 * Image.MAX_IMAGE_PIXELS
"""178,956,970 pixels: above this, Pillow too takes an image for a decompression bomb. No larger image is decoded."""

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


def inspect_image(path: Path | str) -> ImageState:
    """Opens an image file and decodes it to the end, at an eighth of its size if the format can."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return ImageState('image-missing', f'{path} does not exist')
    # Raised if reading is not permitted, or if the name is too long or invalid.
    except (OSError, ValueError) as error:
        return ImageState('image-broken', f'{path} cannot be opened: {error}')
    if not stat.S_ISREG(status.st_mode):
        return ImageState('image-broken', f'{path} is not a regular file')
    if not status.st_size:
        return ImageState('image-empty', f'{path}')
    try:
        with Image.open(path, formats=FORMATS) as image:
            return _decode(path, image)
    except Image.DecompressionBombError:
        return ImageState('image-huge', f'{path} has more than {MAX_PIXELS:,} pixels')
    except Image.UnidentifiedImageError:
        text = f'{path} begins with {_first_bytes(path)}, as no {", ".join(FORMATS[:-1])} or {FORMATS[-1]} file does'
        return ImageState('image-broken', text)
    # Pillow raises a dozen types of exceptions for damaged files.
    except Exception as error:
        kind = 'image-truncated' if 'truncated' in str(error).lower() else 'image-broken'
        return ImageState(kind, f'{path}: {error or type(error).__name__}')


def _decode(path: Path | str, image: ImageFile.ImageFile) -> ImageState:
    width, height = image.size
    if width * height > MAX_PIXELS:
        return ImageState('image-huge', f'{path} is {width} x {height}: more than {MAX_PIXELS:,} pixels')
    # A PNG of 3 x 16 bits shows only in the raw mode.
    deep = image.mode[0] in 'IF' or ';16' in str(image.tile[:1])
    is_tiff = image.format == 'TIFF'
    image.draft('L', (1, 1))
    image.load()
    if is_tiff and cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) is None:
        return ImageState('image-broken', f'{path}: OpenCV does not read this kind of TIFF ({image.mode}); convert it')
    # Only the EXIF block counts: Pillow would look at XMP too, OpenCV does not.
    exif = Image.Exif()
    exif.load(image.info.get('exif', b''))
    # Pillow has rotated a TIFF when it opened it.
    orientation = 1 if is_tiff else exif.get(ORIENTATION, 1)
    return ImageState('', '', width, height, orientation if orientation in range(1, 9) else 1, deep)


def _first_bytes(path: Path | str) -> bytes:
    with open(path, 'rb') as file:
        return file.read(12)


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
) -> dict[str, ImageState]:
    """Inspects image files in threads. Files that have not changed since the last time come from the cache.

    Args:
        folder: Folder of the images.
        names: Names of the files below it.
        trusted: Real paths of further folders that a link in `folder` may lead to.
        advance: Called after each file.
        opened: Whether to open the files; if not, only their paths are checked.

    Returns:
        The state of each file by name.
    """
    cache = ImageCache(folder)
    trusted = (cache.folder, *trusted)

    def inspect(name: str) -> ImageState:
        path = os.path.join(folder, name)
        stamp = file_stamp(path)
        if real := leads_out(path, trusted):
            state = ImageState('path-escapes', f'{path} leads to {real}')
        elif not opened:
            state = ImageState()
        elif known := cache.get(name, stamp):
            state = ImageState('', '', *known)
        else:
            state = inspect_image(path)
            # An image with a problem may be repaired by a permission or a link, which no stamp shows.
            if stamp and not state.problem:
                cache.put(name, stamp, (state.width, state.height, state.orientation, state.deep))
        advance()
        return state

    names = list(dict.fromkeys(names))
    with ThreadPoolExecutor() as pool:
        states = dict(zip(names, pool.map(inspect, names), strict=True))
    cache.save()
    return states
