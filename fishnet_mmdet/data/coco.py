"""COCO's file format, value by value: reads JSON, takes masks apart, and says in words what is wrong with either."""

import gc
import json
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fishnet_mmdet.errors import UserError

LIMIT = 2.0**31
"""No coordinate, no area and no number of pixels reaches this; pycocotools keeps them in 32 bits."""

_NUMBERS = {int, float}  # not bool, which Python counts among the integers


MAX_BYTES = 2 * 2**30
"""Of a file that is read: several times COCO's largest."""

MAX_OUTLINE = 2**24
"""Pixels along a polygon's edges. pycocotools takes some 60 bytes for each: a zigzag of 600 kB could ask for 50 GB."""


class FormatError(UserError, ValueError):
    """Something that is not as COCO's format has it; the message says what."""


def read_json(path: Path | str) -> object:
    """Reads a JSON file.

    Raises:
        FormatError: No such file, not text, not JSON, no regular file, or larger than `MAX_BYTES`.
    """
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe never ends, and a device may not either
            raise FormatError(f'{path}: is no regular file')
        if status.st_size > MAX_BYTES:
            raise FormatError(f'{path}: has {status.st_size:,} bytes; up to {MAX_BYTES:,} are read')
        text = Path(path).read_text(encoding='utf-8')
        with _without_collector():
            return json.loads(text)
    except FormatError:
        raise
    except OSError as error:
        raise FormatError(f'{path}: cannot be read: {error.strerror}') from error
    except (ValueError, RecursionError) as error:  # of text, of JSON, of a number or a nesting without end
        raise FormatError(f'{path}: not JSON: {error}') from error


@contextmanager
def _without_collector() -> Iterator[None]:
    """JSON holds no cycles, and looking for some while millions of lists are made doubles the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def are_numbers(values: object, count: int | None = None) -> bool:
    """Whether a JSON value is a list of numbers (of `count`, if given): finite ones or not, but no text, no booleans."""
    return isinstance(values, list) and count in (None, len(values)) and _NUMBERS.issuperset(map(type, values))


def is_finite(value: float) -> bool:
    """Whether a number can be computed with: neither NaN, nor infinite, nor beyond `LIMIT`."""
    return -LIMIT < value < LIMIT


def is_image_size(height: object, width: object) -> bool:
    """Whether two JSON values can be the sides of an image in pixels."""
    return type(height) is type(width) is int and min(height, width) > 0 and height * width < LIMIT


def is_id(value: object) -> bool:
    """Whether a JSON value can name an annotation or a category: a whole number that fits into 64 bits."""
    return type(value) is int and -(2**63) <= value < 2**63


def is_whole_polygon(part: Sequence[float]) -> bool:
    """Whether a list of numbers can be the corners of a polygon: at least three of them, two numbers each."""
    return len(part) >= 6 and len(part) % 2 == 0


def outlines(flat: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """How long polygons are, in the steps that pycocotools takes along their edges.

    Args:
        flat: (2 * corners,) of x, y of all polygons, one after the other.
        starts: (polygons,) of the first corner of each.

    Returns:
        (polygons,) in pixels, each closed.
    """
    corners = flat.reshape(-1, 2)
    edges = np.empty_like(corners)
    np.subtract(corners[1:], corners[:-1], out=edges[:-1])
    ends = np.append(starts[1:], len(corners)) - 1
    edges[ends] = corners[starts] - corners[ends]
    return np.add.reduceat(np.abs(edges, out=edges).max(axis=1), starts)


def rle_runs(rle: Mapping) -> tuple[np.ndarray, tuple[int, int]]:
    """Takes a run-length encoded mask apart, compressed (a text) or not (a list).

    pycocotools leaves what the runs do not reach to whatever was in memory, and raises for some that reach too far.

    Args:
        rle: The JSON object, with `size` and `counts`.

    Returns:
        Lengths of the runs, zeros first, then ones, and so on; and (height, width).

    Raises:
        FormatError: A field that is missing or of another type, a text that is no RLE, or runs that do not fill the mask.
    """
    size, counts = rle.get('size'), rle.get('counts')
    if not (isinstance(size, list) and len(size) == 2 and is_image_size(*size)):
        raise FormatError(f'size is {brief(size)}, not [height, width]')
    if isinstance(counts, str):
        runs = _unpack(counts)
    elif isinstance(counts, list) and all(type(v) is int and 0 <= v < LIMIT for v in counts):
        runs = np.array(counts, np.int64)
    else:
        raise FormatError(f'counts is {brief(counts)}, neither a text nor a list of whole numbers from 0 on')
    pixels = size[0] * size[1]
    # Each by itself first: a sum of runs that are too long may come out right, as 64 bits overflow.
    if not ((runs >= 0) & (runs <= pixels)).all() or runs.sum() != pixels:
        raise FormatError(f'its runs do not add up to {size[0]} x {size[1]} pixels')
    return runs, (size[0], size[1])


def _unpack(text: str) -> np.ndarray:
    """Runs of a compressed RLE: base-32 digits from '0' on, the low ones first, the bit above them for 'goes on'."""
    digits = np.frombuffer(text.encode('utf-8', 'replace'), np.uint8).astype(np.int64) - ord('0')
    if not digits.size or digits.min() < 0 or digits.max() > 63:
        raise FormatError(f'counts {brief(text)} is not a compressed RLE')
    goes_on = digits >= 32
    ends = np.flatnonzero(~goes_on)
    lengths = np.diff(ends, prepend=-1)
    if goes_on[-1] or lengths.max() > 7:
        raise FormatError(f'counts {brief(text)} ends within a number, or holds one of more than 32 bits')
    starts = ends - lengths + 1
    place = np.arange(digits.size) - np.repeat(starts, lengths)
    runs = np.add.reduceat((digits & 31) << 5 * place, starts)
    runs -= (digits[ends] & 16 > 0) * (1 << 5 * lengths)  # the top bit is the sign
    # From the fourth on, each is stored as its difference to the one before last.
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def brief(value: object, length: int = 60) -> str:
    """A foreign value for a message: escaped, and cut where it is long."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**length:
        return 'a number of more than 60 digits'
    try:
        text = repr(value[:length] if isinstance(value, str | list) else value)
    except RecursionError:
        text = f'a {type(value).__name__} of endless depth'
    return text if len(text) <= length else f'{text[: length - 3]}...'
