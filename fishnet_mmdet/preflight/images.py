"""Image files, each opened and decoded once, in threads; what was seen is remembered until a file changes."""

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageFile

from fishnet_mmdet.files.atomic import write_atomically

FORMATS = ('JPEG', 'PNG', 'BMP', 'GIF', 'JPEG2000', 'PPM', 'TIFF', 'WEBP')
"""What Pillow and OpenCV both read. Others are not tried: Pillow would start a program for some."""

MAX_PIXELS = 2 * Image.MAX_IMAGE_PIXELS
"""178,956,970: the size from which Pillow, too, takes an image for a decompression bomb. Nothing larger is decoded."""

ORIENTATION = 0x0112
"""The EXIF tag that says how an image is to be turned; 1 is not at all, 5 to 8 swap width and height."""

CACHE_VERSION = 2


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at an image file showed.

    Attributes:
        problem: A kind of finding ('image-missing', ...), or '' for an image that can be read.
        detail: The problem in words.
        width: In pixels, as stored.
        height: In pixels, as stored.
        orientation: The EXIF orientation that a reader applies to the stored pixels; 1 for none.
        deep: Whether it has more than 8 bits a channel.
    """

    problem: str = ''
    detail: str = ''
    width: int = 0
    height: int = 0
    orientation: int = 1
    deep: bool = False


def look_at(path: Path | str) -> Look:
    """Opens an image file and decodes it to the end, at an eighth of its size where the format can."""
    try:
        mode = os.stat(path)
    except FileNotFoundError:
        return Look('image-missing', f'{path} does not exist')
    except (OSError, ValueError) as error:  # no permission, a name too long, or one that no file system takes
        return Look('image-broken', f'{path} cannot be opened: {error}')
    if not stat.S_ISREG(mode.st_mode):
        return Look('image-broken', f'{path} is no regular file')
    if not mode.st_size:
        return Look('image-empty', f'{path}')
    try:
        with Image.open(path, formats=FORMATS) as image:
            return _decode(path, image)
    except Image.DecompressionBombError:
        return Look('image-huge', f'{path} has more than {MAX_PIXELS:,} pixels')
    except Image.UnidentifiedImageError:
        return Look('image-broken', f'{path} begins with {_first_bytes(path)}: none of {", ".join(FORMATS)}')
    except Exception as error:  # Pillow raises a dozen kinds for files that are damaged
        kind = 'image-truncated' if 'truncated' in str(error).lower() else 'image-broken'
        return Look(kind, f'{path}: {error or type(error).__name__}')


def _decode(path: Path | str, image: ImageFile.ImageFile) -> Look:
    width, height = image.size
    if width * height > MAX_PIXELS:
        return Look('image-huge', f'{path} is {width} x {height}: more than {MAX_PIXELS:,} pixels')
    deep = image.mode[0] in 'IF' or ';16' in str(image.tile[:1])  # of 48-bit PNGs only the raw mode tells
    is_tiff = image.format == 'TIFF'
    image.draft('L', (1, 1))
    image.load()
    if is_tiff and cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) is None:
        return Look('image-broken', f'{path}: OpenCV does not read this kind of TIFF ({image.mode}): convert it')
    exif = Image.Exif()
    exif.load(image.info.get('exif', b''))  # and not XMP, which OpenCV does not look at
    orientation = 1 if is_tiff else exif.get(ORIENTATION, 1)  # Pillow turns TIFFs when it opens them
    return Look('', '', width, height, orientation if orientation in range(1, 9) else 1, deep)


def _first_bytes(path: Path | str) -> bytes:
    with open(path, 'rb') as file:
        return file.read(12)


def escapes(path: Path | str, trusted: Iterable[str]) -> str | None:
    """Where a path leads if it leads out of the trusted folders, links followed; None otherwise.

    Args:
        path: Of a file, whether it is there or not.
        trusted: Real paths of folders.
    """
    try:
        real = os.path.realpath(path)
    except ValueError:
        return None  # a name that no file system takes: `look_at` says so
    return None if any(real.startswith(os.path.join(folder, '')) for folder in trusted) else real


def look_at_all(
    folder: Path,
    names: Iterable[str],
    trusted: Iterable[str] = (),
    advance: Callable[[], object] = lambda: None,
    opened: bool = True,
) -> dict[str, Look]:
    """Looks at image files in a few more threads than there are cores; those that are as they were come from the cache.

    Args:
        folder: Of the images.
        names: Of the files below it.
        trusted: Real paths of further folders that a link in `folder` may lead to.
        advance: Called after each.
        opened: Whether to open them; else only their paths are followed, and a look at a sound one is empty.

    Returns:
        What was seen, by name.
    """
    cache = Cache(folder)
    trusted = (cache.folder, *trusted)

    def look(name: str) -> Look:
        path = os.path.join(folder, name)
        stamp = _stamp(path)
        if real := escapes(path, trusted):
            seen = Look('path-escapes', f'{path} leads to {real}')
        elif not opened:
            seen = Look()
        else:
            seen = cache.get(name, stamp) or look_at(path)
            cache.put(name, stamp, seen)
        advance()
        return seen

    names = list(dict.fromkeys(names))
    with ThreadPoolExecutor() as pool:
        looks = dict(zip(names, pool.map(look, names), strict=True))
    cache.save()
    return looks


class Cache:
    """The images of one folder that were found sound, by name, size and times of the last change.

    A file in the user's cache folder that may be deleted at any time. It is replaced in one move: of two writers one
    wins, and what the other saw is looked at again. One that is damaged counts as empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder.resolve())
        self.path = cache_folder() / f'{hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:32]}.json'
        self.is_new = False
        self.entries = self._read()

    def get(self, name: str, stamp: list[int] | None) -> Look | None:
        """What was seen of a file, if it still bears that stamp."""
        entry = self.entries.get(name)
        return Look('', '', *entry[3:]) if entry and entry[:3] == stamp else None

    def put(self, name: str, stamp: list[int] | None, look: Look) -> None:
        """Remembers a sound image. What is not may be fixed by a right or a link that no stamp shows."""
        if stamp and not look.problem:
            entry = [*stamp, look.width, look.height, look.orientation, look.deep]
            self.is_new |= entry != self.entries.get(name)
            self.entries[name] = entry

    def save(self) -> None:
        """Writes what is new. A cache that cannot be written costs time, and nothing else."""
        if not self.is_new:
            return
        content = {
            'version': CACHE_VERSION,
            'folder': self.folder,
            'images': {**self._read(), **self.entries},
        }
        with suppress(OSError):
            write_atomically(self.path, json.dumps(content).encode())

    def _read(self) -> dict[str, list]:
        try:
            content = json.loads(self.path.read_text())
            images = content['images'] if content['version'] == CACHE_VERSION else {}
            return {name: entry for name, entry in images.items() if _is_sound(entry)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}


def _is_sound(entry: object) -> bool:
    """Whether an entry of the cache file is one that was written: size, two times in ns, the last fields of a `Look`."""
    return isinstance(entry, list) and [type(part) for part in entry] == [int] * 6 + [bool]


def _stamp(path: str) -> list[int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    # A copy may be given any time of its last change (rsync -t), but not of when that was done.
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def cache_folder() -> Path:
    """Where the caches lie: fishnet_mmdet/images below $XDG_CACHE_HOME, or below ~/.cache."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'fishnet_mmdet' / 'images'
