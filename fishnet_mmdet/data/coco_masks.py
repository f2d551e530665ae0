"""COCO's masks: what a polygon and a run-length encoding (RLE) must be."""

from collections.abc import Mapping, Sequence

import numpy as np

from fishnet_mmdet.data.coco_fields import LIMIT, Problem, are_numbers, is_image_size
from fishnet_mmdet.data.json_files import FormatError, brief


def mask_problem(mask: object, height: int, width: int) -> Problem | None:
    """What is wrong with the mask of an annotation as it is written.

    Where polygons lie is checked by `fishnet_mmdet.data.coco_geometry.PolygonBatch`.

    Args:
        mask: The field `segmentation`.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """
    return read_mask(mask, height, width)[0]


def read_mask(mask: object, height: int, width: int) -> tuple[Problem | None, np.ndarray | None]:
    """What is wrong with a mask, as `mask_problem` says, and the runs of a valid RLE.

    Args:
        mask: The field `segmentation`.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """
    if not mask and isinstance(mask, list | dict | None):
        return Problem('mask-missing', f'segmentation is {brief(mask)}'), None
    if isinstance(mask, Mapping):
        return _read_rle(mask, height, width)
    if not isinstance(mask, list) or not all(map(are_numbers, mask)):
        text = f'segmentation is {brief(mask)}, neither a list of lists of numbers nor an RLE'
        return Problem('entry-malformed', text), None
    return _parts_problem(mask), None


def _parts_problem(parts: Sequence[Sequence[float]]) -> Problem | None:
    # pycocotools takes a first part of four numbers for a box, and then every other part too.
    if not is_polygon(parts[0]):
        counts = ', '.join(str(len(part)) for part in parts[:9])
        return Problem('polygon-short', f'its parts have {counts} numbers; the first must have three points or more')
    short = [len(part) for part in parts if not is_polygon(part)]
    return Problem('polygon-part-short', f'a part has {short[0]} numbers', harmless=True) if short else None


def is_polygon(part: Sequence[float]) -> bool:
    """Whether a list of numbers can be a polygon: x and y of at least three corners."""
    return len(part) >= 6 and len(part) % 2 == 0


def rle_problem(rle: Mapping, height: int, width: int) -> Problem | None:
    """What is wrong with an RLE; one without a pixel is harmless to pycocotools.

    Args:
        rle: The object with `size` and `counts`.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """
    return _read_rle(rle, height, width)[0]


def _read_rle(rle: Mapping, height: int, width: int) -> tuple[Problem | None, np.ndarray | None]:
    try:
        runs, size = rle_runs(rle)
    except FormatError as error:
        return Problem('rle-broken', f'its RLE mask: {error}'), None
    if size != (height, width):
        return Problem('rle-size', f'its RLE mask has size {list(size)}, the image has [{height}, {width}]'), None
    if not runs[1::2].any():
        return Problem('mask-empty', 'its RLE mask has no pixel', harmless=True), None
    return None, runs


def box_of_runs(runs: np.ndarray, height: int) -> tuple[int, int, int, int]:
    """The smallest box around the pixels of a mask, as left, top, right, bottom.

    Args:
        runs: Lengths of the runs, from `rle_runs`; at least one pixel is set.
        height: Height of the mask in pixels.
    """
    ends = np.cumsum(runs)[1::2]
    lengths = runs[1::2][: len(ends)]
    first, last = (ends - lengths)[lengths > 0], ends[lengths > 0] - 1
    # A run that goes on in the next column reaches the lower and the upper edge.
    crosses = first // height != last // height
    top = int(np.where(crosses, 0, first % height).min())
    bottom = int(np.where(crosses, height - 1, last % height).max())
    return int(first[0] // height), top, int(last[-1] // height) + 1, bottom + 1


def rle_runs(rle: Mapping) -> tuple[np.ndarray, tuple[int, int]]:
    """Decodes an RLE into its runs.

    pycocotools leaves pixels that the runs do not reach uninitialised, and raises for some runs that reach too far.

    Args:
        rle: The object with `size` and `counts`; counts are a text (compressed) or a list. Bytes are also accepted,
            because pycocotools leaves them in annotations that it has evaluated.

    Returns:
        Lengths of the runs, alternately of zeros and of ones, beginning with zeros; and (height, width).

    Raises:
        FormatError: A field is missing or has the wrong type, the text is not an RLE, or the runs do not fill the mask.
    """
    size, counts = rle.get('size'), rle.get('counts')
    if not (isinstance(size, list) and len(size) == 2 and is_image_size(*size)):
        raise FormatError(f'size is {brief(size)}, not [height, width]')
    if isinstance(counts, bytes):
        counts = counts.decode('latin-1')
    if isinstance(counts, str):
        runs = _unpack(counts)
    elif isinstance(counts, list) and all(type(v) is int and 0 <= v < LIMIT for v in counts):
        runs = np.array(counts, np.int64)
    else:
        raise FormatError(f'counts is {brief(counts)}, neither a text nor a list of integers from 0')
    pixels = size[0] * size[1]
    # The sum alone does not suffice: with runs that are too long, it may overflow 64 bits and come out right.
    if not ((runs >= 0) & (runs <= pixels)).all() or runs.sum() != pixels:
        raise FormatError(f'its runs do not add up to {size[0]} x {size[1]} pixels')
    return runs, (size[0], size[1])


def _unpack(text: str) -> np.ndarray:
    """Runs of a compressed RLE.

    Each run is a number in base 32, lowest digits first. A digit is a character counted from '0'; its bit 5 says that
    another digit follows. From the fourth run on, the number is the difference to the run two places before.
    """
    digits = np.frombuffer(text.encode('utf-8', 'replace'), np.uint8).astype(np.int64) - ord('0')
    if not digits.size or digits.min() < 0 or digits.max() > 63:
        raise FormatError(f'counts {brief(text)} is not a compressed RLE')
    goes_on = digits >= 32
    ends = np.flatnonzero(~goes_on)
    lengths = ends + 1
    lengths[1:] -= lengths[:-1].copy()
    if goes_on[-1] or lengths.max() > 7:
        raise FormatError(f'counts {brief(text)} ends within a number, or has one of more than 32 bits')
    starts = ends - lengths + 1
    place = np.arange(digits.size) - np.repeat(starts, lengths)
    runs = np.add.reduceat((digits & 31) << 5 * place, starts)
    # The highest bit of a number is its sign.
    runs -= (digits[ends] & 16 > 0) * (1 << 5 * lengths)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
