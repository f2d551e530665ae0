"""What an annotation file is needed for, and what it holds."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fishnet_mmdet.preflight.findings import Finding


@dataclass(frozen=True)
class Use:
    """What the loaders and evaluators of a config need an annotation file for.

    Attributes:
        masks: Whether masks are read from it.
        polygons_only: Whether a pipeline removes objects whose mask is an RLE (mmdet's `poly2mask=False`).
        evaluated: Whether results are evaluated against it. Then objects count that training leaves out.
        stock_metric: Whether MMDetection's own metric evaluates, which gives the file to pycocotools as it is;
            `OfficialCocoMetric` prepares it first.
        panoptic: Whether it is in COCO's panoptic format, whose annotations hold `segments_info`.
        ignored: Names of categories that are left out on purpose.
    """

    masks: bool = True
    polygons_only: bool = False
    evaluated: bool = False
    stock_metric: bool = False
    panoptic: bool = False
    ignored: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """A valid entry of `images`: its index there, the file below the image folder, and its size in pixels."""

    place: int
    name: str
    width: int
    height: int


@dataclass(frozen=True)
class Objects:
    """The valid annotations of listed images, in the order of the file.

    Attributes:
        image_ids: (N,) ids of their images.
        category_ids: (N,) ids of their categories.
        is_crowd: (N,) whether each is a crowd.
        is_used: (N,) whether MMDetection uses each; it leaves out those that are tiny, empty, outside or ignored.
    """

    image_ids: list[int | str] = field(default_factory=list)
    category_ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    is_crowd: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    is_used: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))


@dataclass(frozen=True)
class Contents:
    """What is valid in an annotation file, and what was found to be wrong.

    Attributes:
        path: The file.
        findings: What is wrong.
        is_read: Whether the file could be read.
        images: The images by id.
        categories: Id and name of each category, in the order of the file.
        objects: The annotations.
    """

    path: Path
    findings: list[Finding] = field(default_factory=list)
    is_read: bool = False
    images: dict[int | str, ImageEntry] = field(default_factory=dict)
    categories: list[tuple[int, str]] = field(default_factory=list)
    objects: Objects = field(default_factory=Objects)
