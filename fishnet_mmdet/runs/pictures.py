"""The pictures in the work dirs of runs: of `test --show-dir`, or of a visualizer during validation."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fishnet_mmdet.base.folders import walk
from fishnet_mmdet.runs.log import STAMP
from fishnet_mmdet.runs.run import Run

ENDINGS = ('.jpg', '.jpeg', '.png')
LARGEST = (960, 600)
"""Width and height in pixels that a picture of the page has at most."""


@dataclass(frozen=True)
class Shown:
    """One image as several runs see it.

    Attributes:
        name: Name of the image.
        files: For each run, the picture; None if the run has none.
    """

    name: str
    files: tuple[Path | None, ...]


def find_pictures(runs: Sequence[Run], count: int, out: Path) -> list[Shown]:
    """Chooses images of which the runs have pictures, evenly spaced; those of most runs first.

    Args:
        runs: The runs.
        count: Number of images.
        out: A folder in which not to look: that of the page.
    """
    of_runs = [_pictures(run.folder, out) for run in runs]
    names = sorted({name for found in of_runs for name in found})
    most = max((sum(name in found for found in of_runs) for name in names), default=0)
    common = [name for name in names if sum(name in found for found in of_runs) == most]
    chosen = np.linspace(0, len(common) - 1, min(count, len(common))).round().astype(int) if common else []
    return [Shown(common[i], tuple(found.get(common[i]) for found in of_runs)) for i in chosen]


def _pictures(folder: Path, out: Path) -> dict[str, Path]:
    """The newest picture of each image, by its name below the folder of pictures."""
    tests: dict[str, Path] = {}
    validations: dict[str, Path] = {}
    for path, names in walk(folder):
        if out.resolve() in (path.resolve(), *path.resolve().parents):
            continue
        parts = path.relative_to(folder).parts
        stamps = [i for i, part in enumerate(parts) if STAMP.fullmatch(part)]
        below = parts[stamps[-1] + 1 if stamps else 0 :]
        if not below:
            continue
        # The first folder is the one that --show-dir named.
        found, inside = (validations, below[2:]) if 'vis_image' in below else (tests, below[1:])
        for name in names:
            if name.lower().endswith(ENDINGS):
                found['/'.join([*inside, name])] = path / name
    return tests or validations


def inlined(path: Path) -> str | None:
    """A picture as a data address, made smaller if it is larger than `LARGEST`; None if it cannot be read."""
    try:
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.stat().st_size else None
    # A broken link; a header that states more pixels than OpenCV reads.
    except (OSError, cv2.error):
        return None
    if image is None:
        return None
    scale = min(1.0, LARGEST[0] / image.shape[1], LARGEST[1] / image.shape[0])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return f'data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}'
