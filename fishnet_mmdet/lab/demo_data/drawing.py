"""Shapes, textures and colours of the demo sets; a random generator determines each of them."""

from collections.abc import Callable

import cv2
import numpy as np

CLASSES = ('disc', 'box', 'triangle')

HUES = (0, 60, 120)
"""Middle of each class's range of hues, out of 180.

The ranges do not overlap, so colour distinguishes the classes as shape does, and a network learns them in minutes.
"""


def _fill(side: int, corners: np.ndarray) -> np.ndarray:
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1)
    return mask.astype(bool)


def disc(rng: np.random.Generator, side: int, length: float, middle: np.ndarray) -> np.ndarray:
    """A rotated disc or ellipse: mask (side, side)."""
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    axes = length / 2 * np.array([1.0, rng.uniform(0.75, 1.0)])
    return _fill(side, _rotated(rng, axes * np.stack([np.cos(angles), np.sin(angles)], 1)) + middle)


def box(rng: np.random.Generator, side: int, length: float, middle: np.ndarray) -> np.ndarray:
    """A rotated rectangle: mask (side, side)."""
    half = length / 2 * np.array([0.9, rng.uniform(0.55, 0.9)])
    return _fill(side, _rotated(rng, half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])) + middle)


def triangle(rng: np.random.Generator, side: int, length: float, middle: np.ndarray) -> np.ndarray:
    """A rotated triangle without exact symmetry: mask (side, side)."""
    angles = np.array([0, 2, 4]) * np.pi / 3 + rng.uniform(-0.25, 0.25, 3)
    corners = 0.62 * length * np.stack([np.cos(angles), np.sin(angles)], 1)
    return _fill(side, _rotated(rng, corners) + middle)


def _rotated(rng: np.random.Generator, points: np.ndarray) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return points @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


SHAPES: dict[str, Callable[[np.random.Generator, int, float, np.ndarray], np.ndarray]] = {
    'disc': disc,
    'box': box,
    'triangle': triangle,
}
"""Drawing function of each class: (generator, side of the image, side of the object, middle) -> mask (side, side)."""


def texture(rng: np.random.Generator, side: int, contrast: float) -> np.ndarray:
    """Smooth coloured clouds of two sizes, zero on average: (side, side, 3) float."""
    clouds = np.zeros((side, side, 3))
    for cells, strength in ((4, 0.6), (16, 0.4)):
        coarse = rng.normal(0, 1, (cells, cells, 3)).astype(np.float32)
        clouds += strength * cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return contrast * clouds


def colour(rng: np.random.Generator, hue_range: int, covered: np.ndarray) -> np.ndarray:
    """A colour of one of the three `HUES` that differs clearly from the covered pixels: (3,) BGR."""
    behind = covered.mean(0)
    while True:
        hue = (HUES[hue_range] + rng.uniform(-25, 25)) % 180
        hsv = np.array([[[hue, rng.uniform(90, 255), rng.uniform(90, 255)]]], np.uint8)
        colour = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].astype(float)
        if np.abs(colour - behind).max() > 50:
            return colour


def outline(mask: np.ndarray, finer: int = 4) -> list[list[float]]:
    """Polygons along the edges of a mask's pixels; OpenCV's own contours run through their centres."""
    fine = cv2.resize(mask.astype(np.uint8), None, fx=finer, fy=finer, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [((c.reshape(-1) + 0.5) / finer).tolist() for c in contours if len(c) >= 3]


def _waves(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Two perpendicular, rotated waves of one random length: (side, side) each, in [-1, 1]."""
    angle, length = rng.uniform(0, np.pi), rng.uniform(7, 12)
    y, x = np.mgrid[:side, :side] * (2 * np.pi / length)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return np.cos(along), np.cos(across)


def plain(rng: np.random.Generator, side: int) -> np.ndarray:
    """No pattern: (side, side) zeros."""
    return np.zeros((side, side))


def striped(rng: np.random.Generator, side: int) -> np.ndarray:
    """Stripes: (side, side) of -1 and 1."""
    return np.sign(_waves(rng, side)[0])


def dotted(rng: np.random.Generator, side: int) -> np.ndarray:
    """Dots: (side, side) of -1 and 1."""
    first, second = _waves(rng, side)
    return np.where(first + second > 0.5, 1.0, -1.0)


PATTERNS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    'plain': plain,
    'striped': striped,
    'dotted': dotted,
}
"""Pattern of an object, in addition to its colour: (generator, side of the image) -> lightness (side, side)."""
