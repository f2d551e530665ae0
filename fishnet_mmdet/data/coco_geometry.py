"""Where COCO's boxes and polygons lie in their images; many are measured at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

import numpy as np

from fishnet_mmdet.data.coco_fields import LIMIT, Problem, is_finite
from fishnet_mmdet.data.coco_masks import is_polygon

EDGE = 1.0
"""Pixels by which a box or polygon may reach beyond its image: some tools count pixels from 1."""

MAX_OUTLINE = 2**24
"""Largest length of a polygon's edges in pixels.

pycocotools takes some 60 bytes for each pixel: a zigzag of 600 kB could take 50 GB.
"""

NO_AREA = 0.01
"""Square pixels: polygons with less have all corners on a line, and no pixel."""

NUMBERS_AT_ONCE = 2_000_000
"""Polygons are measured in batches of about this many numbers, which bounds the memory that this takes."""


@dataclass(frozen=True)
class BoxMeasures:
    """How boxes lie in their images. All fields have one value for each box, and a box has at most one True.

    Attributes:
        negative: Whether a side is negative.
        tiny: Whether a side is shorter than a pixel.
        outside: Whether nothing of it lies in the image.
        over: Whether it reaches more than `EDGE` beyond the image.
    """

    negative: np.ndarray
    tiny: np.ndarray
    outside: np.ndarray
    over: np.ndarray

    @property
    def usable(self) -> np.ndarray:
        """Whether MMDetection uses the box."""
        return ~(self.negative | self.tiny | self.outside)


def measure_boxes(boxes: np.ndarray, sides: np.ndarray) -> BoxMeasures:
    """Measures boxes.

    Args:
        boxes: (N, 4) x, y, width, height in pixels; finite.
        sides: (N, 2) width and height of the image of each box.
    """
    start, size = boxes[:, :2], boxes[:, 2:]
    negative = (size < 0).any(1)
    tiny = ~negative & (size < 1).any(1)
    outside = ~negative & ~tiny & ((start >= sides) | (start + size <= 0)).any(1)
    beyond = np.maximum(-start, start + size - sides).max(1, initial=-np.inf)
    return BoxMeasures(negative, tiny, outside, ~(negative | tiny | outside) & (beyond > EDGE))


def clipped(boxes: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """The parts of boxes that lie in their images.

    Args:
        boxes: (N, 4) left, top, right, bottom in pixels.
        sides: (N, 2) width and height of the image of each box.
    """
    return np.clip(boxes, 0, np.tile(sides, 2))


def box_ious(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU of boxes, each with the one of the same number; 0 if a side is negative.

    Args:
        first: (N, 4) left, top, right, bottom in pixels.
        second: (N, 4) the same.
    """
    low, high = np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])
    shared = np.maximum(high - low, 0).prod(1)
    areas = [np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(1) for boxes in (first, second)]
    return shared / np.maximum(areas[0] + areas[1] - shared, 1e-9)


@dataclass
class PolygonBatch:
    """Collects the polygons of many annotations and checks together where they lie.

    Attributes:
        owners: Number of the annotation that each polygon belongs to, not decreasing.
        parts: The polygons, each a list of x1, y1, x2, y2 and so on.
        sides: Width and height of the image of each polygon.
        size: Count of numbers in all polygons.
    """

    owners: list[int] = field(default_factory=list)
    parts: list[Sequence[float]] = field(default_factory=list)
    sides: list[tuple[int, int]] = field(default_factory=list)
    size: int = 0

    @property
    def is_full(self) -> bool:
        """Whether it is time to check and to start another batch."""
        return self.size > NUMBERS_AT_ONCE

    def add(self, owner: int, mask: Sequence[Sequence[float]], width: int, height: int) -> None:
        """Adds the polygons of an annotation.

        Args:
            owner: Number of the annotation, larger than those before.
            mask: Its parts. Those with too few numbers to be polygons are left out.
            width: Width of its image in pixels.
            height: Height of its image in pixels.
        """
        for part in mask:
            if is_polygon(part):
                self.owners.append(owner)
                self.parts.append(part)
                self.sides.append((width, height))
                self.size += len(part)

    @cached_property
    def _measures(self) -> '_Measures':
        return _measure(self)

    def outlines(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the polygons of each annotation are together; call it when all are added.

        Returns:
            (N,) owners; (N, 4) left, top, right and bottom, NaN if a number is not finite; and (N,) whether they have
            no area, because all corners lie on a line.
        """
        if not self.parts:
            return np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0, bool)
        owners, first = np.unique(self.owners, return_index=True)
        low = np.minimum.reduceat(self._measures.low, first)
        high = np.maximum.reduceat(self._measures.high, first)
        flat = np.add.reduceat(self._measures.areas, first) < NO_AREA
        return owners, np.concatenate([low, high], axis=1), flat

    def problems(self) -> Iterator[tuple[int, Problem]]:
        """Yields what is wrong, as owner and problem; of each kind, an owner has the first one."""
        if not self.parts:
            return
        measures = self._measures
        owners, first = np.unique(self.owners, return_index=True)
        for kind, guilty, dangerous in (
            ('polygon-endless', measures.endless, measures.endless),
            ('not-finite', ~measures.finite, ~measures.finite),
            ('polygon-outside', measures.outside, measures.far),
            ('polygon-over-edge', measures.over_edge, np.zeros_like(measures.finite)),
        ):
            is_guilty, is_dangerous = (np.logical_or.reduceat(parts, first) for parts in (guilty, dangerous))
            for number in np.flatnonzero(is_guilty):
                part = first[number] + int(np.argmax(guilty[first[number] :]))
                yield int(owners[number]), Problem(kind, measures.text(kind, part), not is_dangerous[number])


@dataclass(frozen=True)
class _Measures:
    """Measures of the polygons of a batch.

    Attributes:
        low: (N, 2) smallest x and y.
        high: (N, 2) largest x and y.
        sides: (N, 2) width and height of the image.
        lengths: (N,) length of the edges in pixels.
        areas: (N,) sum of the areas of the triangles between the first corner and each edge, in square pixels.
    """

    low: np.ndarray
    high: np.ndarray
    sides: np.ndarray
    lengths: np.ndarray
    areas: np.ndarray

    @cached_property
    def finite(self) -> np.ndarray:
        """Whether all numbers are finite and below `LIMIT`."""
        return np.isfinite(self.low).all(1) & np.isfinite(self.high).all(1)

    @cached_property
    def beyond(self) -> np.ndarray:
        """By how many pixels it reaches beyond the image; negative inside."""
        return np.maximum(-self.low, self.high - self.sides).max(1)

    @cached_property
    def far(self) -> np.ndarray:
        """Whether it reaches farther out than the image is long.

        No slip does that, and pycocotools takes memory by the length of each edge.
        """
        return self.finite & (self.beyond > self.sides.max(1))

    @cached_property
    def outside(self) -> np.ndarray:
        """Whether it lies outside the image, or reaches far out of it."""
        return self.finite & ((self.low > self.sides + EDGE) | (self.high < -EDGE)).any(1) | self.far

    @cached_property
    def over_edge(self) -> np.ndarray:
        """Whether it lies in the image and reaches more than `EDGE` out of it."""
        return self.finite & ~self.outside & (self.beyond > EDGE)

    @cached_property
    def endless(self) -> np.ndarray:
        """Whether its edges are longer than `MAX_OUTLINE`."""
        return self.finite & ~self.outside & (self.lengths > MAX_OUTLINE)

    def text(self, kind: str, part: int) -> str:
        """What is wrong with one polygon, in words."""
        (left, top), (right, bottom), (width, height) = self.low[part], self.high[part], self.sides[part]
        return {
            'polygon-endless': (
                f'a polygon has edges of {self.lengths[part]:,.0f} pixels; up to {MAX_OUTLINE:,} are drawn'
            ),
            'not-finite': 'a polygon has a number that is not finite, or beyond 2^31',
            'polygon-outside': (
                f'a polygon reaches from ({left:.6g}, {top:.6g}) to ({right:.6g}, {bottom:.6g}), '
                f'far beyond its image of {width:.0f} x {height:.0f}'
            ),
            'polygon-over-edge': f'a polygon reaches {self.beyond[part]:.4g} pixels beyond the edge of its image',
        }[kind]


def _measure(batch: PolygonBatch) -> _Measures:
    flat = _flatten(batch.parts, batch.size)
    starts = np.cumsum([0, *(len(part) // 2 for part in batch.parts[:-1])])
    low, high = (
        np.stack([extreme.reduceat(flat[axis::2], starts) for axis in (0, 1)], axis=1)
        for extreme in (np.minimum, np.maximum)
    )
    return _Measures(low, high, np.array(batch.sides, np.float64), *_edges(flat, starts))


def _flatten(parts: Sequence[Sequence[float]], count: int) -> np.ndarray:
    """All numbers of all parts in a row; those that are not finite, or beyond `LIMIT`, become NaN."""
    try:
        flat = np.fromiter(chain.from_iterable(parts), np.float64, count)
    # Raised for an integer beyond 10^308.
    except OverflowError:
        flat = np.fromiter((v if is_finite(v) else np.nan for v in chain.from_iterable(parts)), np.float64, count)
    flat[~(np.abs(flat) < LIMIT)] = np.nan
    return flat


def _edges(flat: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of the edges of closed polygons, in the steps that pycocotools takes along them, and areas.

    Args:
        flat: (2 * corners,) x and y of the corners of all polygons, one polygon after the other.
        starts: (polygons,) number of the first corner of each.

    Returns:
        (polygons,) in pixels, and (polygons,) sums of the areas of triangles, in square pixels.
    """
    corners = flat.reshape(-1, 2)
    edges = np.empty_like(corners)
    np.subtract(corners[1:], corners[:-1], out=edges[:-1])
    ends = np.append(starts[1:], len(corners)) - 1
    edges[ends] = corners[starts] - corners[ends]
    spokes = corners - np.repeat(corners[starts], np.diff(np.append(starts, len(corners))), axis=0)
    spokes *= edges[:, ::-1]
    areas = np.add.reduceat(np.abs(spokes[:, 0] - spokes[:, 1]), starts) / 2
    return np.add.reduceat(np.abs(edges, out=edges).max(axis=1), starts), areas
