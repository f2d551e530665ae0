"""The text on a drawn picture: placed where it does not hide objects."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

COVERED = 0.05
"""Largest share of an object, its mask or else its box, that all labels together cover."""

CROWDED = 0.1
"""Largest share of the picture that all labels together cover, since they may hide objects that were not found."""

MARGIN = 2
"""Pixels between a text and the edge of its label."""

Color = tuple[int, int, int]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Shape:
    """An object in pixels of the picture it is drawn on.

    Attributes:
        box: left, top, right, bottom.
        corner: left and top of `inside`.
        inside: (high, wide) bool: the part of the mask within its bounding rectangle; None without masks.
        color: blue, green, red.
        name: The class name.
        score: From 0 to 1.
    """

    box: Box
    corner: tuple[int, int]
    inside: np.ndarray | None
    color: Color
    name: str
    score: float

    @property
    def side(self) -> float:
        """Side of a square as large as the box."""
        left, top, right, bottom = self.box
        return ((right - left) * (bottom - top)) ** 0.5

    @property
    def bounds(self) -> Box:
        """The rectangle around what `covered` counts: left, top, right, bottom."""
        if self.inside is None:
            return self.box
        (left, top), (high, wide) = self.corner, self.inside.shape
        return left, top, left + wide, top + high

    def covered(self, box: Box) -> int:
        """Number of pixels of the object in a box."""
        left, top, right, bottom = self.bounds
        wide, high = min(right, box[2]) - max(left, box[0]), min(bottom, box[3]) - max(top, box[1])
        if wide <= 0 or high <= 0:
            return 0
        if self.inside is None:
            return wide * high
        return int(self.inside[max(0, box[1] - top) : box[3] - top, max(0, box[0] - left) : box[2] - left].sum())


@dataclass(frozen=True)
class Label:
    """A text in a box filled with the color of its object. `name` is the class name if the text holds it, or None."""

    box: Box
    text: str
    size: int
    color: Color
    name: str | None


def text_size(height: int, width: int) -> int:
    """Height of the largest text on a picture of this size, in pixels."""
    return max(10, round(min(height, width) / 45))


def pick_labels(shapes: Sequence[Shape], picture: tuple[int, int], names: bool) -> list[Label]:
    """Chooses texts and places: beside each object, or in its corner if it is large.

    Args:
        shapes: The objects; of two that want the same place, the earlier one gets it.
        picture: Height and width in pixels.
        names: Whether labels show the class name with the score. Where there is no place for both, the score is shown.

    Returns:
        The labels, at most one for each object. They do not overlap. All of them cover at most `COVERED` of any object
        and `CROWDED` of the picture.
    """
    height, width = picture
    largest, room = text_size(height, width), CROWDED * height * width
    bounds = np.array([shape.bounds for shape in shapes], np.int64).reshape(-1, 4)
    spare = np.array([COVERED * shape.covered(shape.bounds) for shape in shapes])
    taken, labels = np.zeros((0, 4), np.int64), []
    for shape in shapes:
        size = max(9, round(largest * 0.6), min(largest, round(shape.side / 4)))
        for name, text, box in _candidates(shape, size, names, height, width):
            touched = np.flatnonzero(_overlaps(bounds, box))
            covers = np.array([shapes[index].covered(box) for index in touched])
            area = (box[2] - box[0]) * (box[3] - box[1])
            if area > room or _overlaps(taken, box).any() or (covers > spare[touched]).any():
                continue
            spare[touched] -= covers
            room -= area
            taken = np.concatenate((taken, [box]))
            labels.append(Label(box, text, size, shape.color, name))
            break
    return labels


def write_labels(picture: np.ndarray, labels: Sequence[Label]) -> np.ndarray:
    """Returns the picture, (H, W, 3) BGR, with labels. OpenCV writes only ASCII."""
    if not labels:
        return picture
    page = Image.fromarray(picture[:, :, ::-1])
    pen = ImageDraw.Draw(page)
    for label in labels:
        left, top, right, bottom = label.box
        blue, green, red = label.color
        pen.rectangle((left, top, right - 1, bottom - 1), fill=(red, green, blue))
        is_bright = 0.299 * red + 0.587 * green + 0.114 * blue > 128
        pen.text((left + MARGIN, top), label.text, fill=(0,) * 3 if is_bright else (255,) * 3, font=_font(label.size))
    return np.ascontiguousarray(np.asarray(page)[:, :, ::-1])


def add_legend(picture: np.ndarray, shapes: Sequence[Shape]) -> np.ndarray:
    """Adds a strip below a picture, with the color, the name and the number of objects of each class."""
    height, width = picture.shape[:2]
    size = text_size(height, width)
    colors = {shape.name: shape.color for shape in shapes}
    left, top, labels = 0, height, []
    for name, count in Counter(shape.name for shape in shapes).most_common():
        text = f'{name}: {count}'
        wide, high = _measure(text, size)
        if left and left + wide > width:
            left, top = 0, top + high
        labels.append(Label((left, top, left + wide, top + high), text, size, colors[name], name))
        left += wide
    strip = np.zeros((labels[-1].box[3] - height, width, 3), np.uint8)
    return write_labels(np.concatenate((picture, strip)), labels)


def _candidates(shape: Shape, size: int, names: bool, height: int, width: int) -> Iterator[tuple]:
    """The class name or None, the text and the box of each label that an object may get, best first."""
    score = f'{shape.score:.2f}'
    for name, text in [(shape.name, f'{shape.name} {score}')] * names + [(None, score)]:
        for box in _places(shape.box, *_measure(text, size), height, width):
            yield name, text, box


def _places(box: Box, wide: int, high: int, height: int, width: int) -> Iterator[Box]:
    """Boxes of a size, above, in, below and beside the box of an object, which lie in a picture of height and width."""
    left, top, right, bottom = box
    lefts = [max(0, min(x, width - wide)) for x in (left, right - wide)]
    beside = max(0, min(top, height - high))
    places = [(x, y) for y in (top - high, top, bottom + 1) for x in lefts]
    for x, y in [*places, (right + 1, beside), (left - wide, beside)]:
        if 0 <= x <= width - wide and 0 <= y <= height - high:
            yield x, y, x + wide, y + high


def _overlaps(boxes: np.ndarray, box: Box) -> np.ndarray:
    """Which of (N, 4) boxes overlap a box."""
    left, top, right, bottom = box
    return (boxes[:, 0] < right) & (boxes[:, 1] < bottom) & (boxes[:, 2] > left) & (boxes[:, 3] > top)


def _measure(text: str, size: int) -> tuple[int, int]:
    """Width and height of a label in pixels."""
    font = _font(size)
    return int(np.ceil(font.getlength(text))) + 2 * MARGIN, sum(font.getmetrics())


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which Matplotlib brings along."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / 'fonts' / 'ttf' / 'DejaVuSans.ttf'), size)
