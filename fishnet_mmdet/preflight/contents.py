"""An annotation file: what it is needed for, and what was found in it."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fishnet_mmdet.preflight.findings import Finding


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """A sound entry of `images`: its place there, the file below the image folder, and its size in pixels."""

    place: int
    name: str
    width: int
    height: int


@dataclass
class Contents:
    """What is sound in an annotation file, and what is not.

    Attributes:
        path: The file.
        is_read: Whether it could be read at all.
        findings: All that was found, of no split yet.
        images: By id.
        categories: Id and name, in the file's order.
        image_ids: (objects,) of every sound annotation of a listed image; object array.
        category_ids: (objects,) of the same.
        is_crowd: (objects,) of the same.
        is_used: (objects,) whether MMDetection would use it: it leaves tiny and empty ones out.
    """

    path: Path
    is_read: bool = False
    findings: list[Finding] = field(default_factory=list)
    images: dict[int | str, ImageEntry] = field(default_factory=dict)
    categories: list[tuple[int, str]] = field(default_factory=list)
    image_ids: list[int | str] = field(default_factory=list)
    category_ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    is_crowd: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    is_used: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    def add(self, kind: str, detail: str, **about) -> None:
        """Notes a finding; `about` holds `image`, `annotation`, `entry` as the list and the place in it."""
        if 'entry' in about:
            about['entry'] = (str(self.path), *about['entry'])
        self.findings.append(Finding(kind, '', str(self.path), detail, **about))


@dataclass
class Use:
    """What an annotation file is needed for, by whoever reads it.

    Attributes:
        masks: Whether masks are read from it.
        polygons_alone: Whether a pipeline takes objects out whose mask is an RLE (mmdet's `poly2mask=False`).
        evaluated: Whether results are evaluated against it: then objects count that training leaves out.
        bare: Whether pycocotools evaluates as it is, which needs more, rather than by `OfficialCocoMetric`.
        panoptic: Whether it has COCO's panoptic layout, whose annotations hold `segments_info`.
        ignored: Names of categories that are left out on purpose.
    """

    masks: bool = True
    polygons_alone: bool = False
    evaluated: bool = False
    bare: bool = False
    panoptic: bool = False
    ignored: Collection[str] = ()
