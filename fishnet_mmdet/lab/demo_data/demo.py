"""Two drawn data sets, one in COCO's format and one of image classes, small enough to learn on two cores.

Discs, boxes and triangles of many colours, rotated, textured and covering each other, on a textured noisy background:
small, medium and large by COCO's definition, as polygons, RLE and crowd regions. The seed determines everything.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask
from rich.progress import track

from fishnet_mmdet.base.atomic import atomic_folder
from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.lab.demo_data.drawing import CLASSES, PATTERNS, SHAPES, colour, outline, texture

SIDES = {'small': (14, 30), 'medium': (38, 90), 'large': (120, 170)}
"""Range of an object's side in pixels; in COCO an object is small below 32^2 and large above 96^2 pixels."""

SIZE_ODDS = (0.15, 0.6, 0.25)
CROWD_ODDS = 0.1
RLE_ODDS = 0.2
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92]

OBJECT_CLASSES = tuple(f'{hue}_{pattern}' for hue in ('red', 'green', 'blue') for pattern in PATTERNS)
"""Classes of the classification set: a colour and a pattern; the shape does not matter."""

MIN_VISIBLE = 0.6
"""A shape is not drawn if less than this fraction of a shape behind it would stay visible."""


class DemoDataError(UserError, ValueError):
    """A demo set that cannot be drawn; the message names the value or the folder, and the fix."""


@dataclass(frozen=True, kw_only=True)
class DemoSpec:
    """What a demo set contains. Its JSON is stored with the data, to recognise a set on disk.

    Attributes:
        train: Number of training images.
        val: Number of validation images; none of them is a training image.
        side: Side of the square images in pixels.
        seed: Seed of all drawings.
        version: Increased with every change of the drawing code.

    Raises:
        DemoDataError: A number that is too small.
    """

    train: int = 480
    val: int = 80
    side: int = 192
    seed: int = 0
    version: int = 2

    def __post_init__(self) -> None:
        _check_counts(self)


@dataclass(frozen=True, kw_only=True)
class ClassesSpec:
    """What a classification demo set contains, equally many images of each class; fields as in `DemoSpec`."""

    train: int = 1800
    val: int = 270
    side: int = 96
    seed: int = 0
    version: int = 1

    def __post_init__(self) -> None:
        _check_counts(self)


def _check_counts(spec: DemoSpec | ClassesSpec) -> None:
    for name, least in (('train', 1), ('val', 1), ('side', 32), ('seed', 0)):
        if getattr(spec, name) < least:
            raise DemoDataError(f'{name} = {getattr(spec, name)} must be at least {least}')


def make_demo_data(root: Path | str, spec: DemoSpec | None = None) -> bool:
    """Writes `train/`, `val/` and `annotations/instances_{train,val}.json` under `root`.

    The folder appears in one move when everything is drawn, so an interrupted call leaves nothing unfinished.

    Args:
        root: The folder. A demo set of another spec is replaced; anything else is left as it is.
        spec: What to draw; by default `DemoSpec()`.

    Returns:
        Whether anything had to be drawn.

    Raises:
        DemoDataError: `root` contains something that is not a demo set, or cannot be written.
    """
    spec = spec or DemoSpec()

    def draw(folder: Path) -> None:
        for number, split in enumerate(('train', 'val')):
            _write_split(folder, split, (spec.seed, number), getattr(spec, split), spec.side)

    return _write_once(Path(root), json.dumps(asdict(spec)), draw)


def make_demo_classes(root: Path | str, spec: ClassesSpec | None = None) -> bool:
    """Writes a classification set: `train/CLASS/*.jpg` and `val/CLASS/*.jpg`; a class is a colour and a pattern.

    Args:
        root: The folder, as in `make_demo_data`.
        spec: What to draw; by default `ClassesSpec()`.

    Returns:
        Whether anything had to be drawn.

    Raises:
        DemoDataError: `root` contains something that is not a demo set, or cannot be written.
    """
    spec = spec or ClassesSpec()

    def draw(folder: Path) -> None:
        for number, split in enumerate(('train', 'val')):
            for index in track(range(getattr(spec, split)), description=f'drawing {split} images'):
                rng = np.random.default_rng((spec.seed, 2 + number, index))
                label = index % len(OBJECT_CLASSES)
                path = folder / split / OBJECT_CLASSES[label] / f'{index:06d}.jpg'
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), draw_object(rng, label, spec.side), JPEG)

    return _write_once(Path(root), json.dumps({'classes': OBJECT_CLASSES, **asdict(spec)}), draw)


def _write_once(root: Path, wanted: str, draw: Callable[[Path], None]) -> bool:
    """Draws into a temporary folder beside `root` and moves it there, unless `root` is what is wanted."""
    stamp = root / 'demo_spec.json'
    if stamp.is_file() and stamp.read_text() == wanted:
        return False
    if root.exists() and not stamp.is_file() and (not root.is_dir() or any(root.iterdir())):
        raise DemoDataError(f'{root} exists and is not a demo set: give another folder, or move it away')

    try:
        with atomic_folder(root) as drawn:
            draw(drawn)
            (drawn / 'demo_spec.json').write_text(wanted)
    except OSError as error:
        raise DemoDataError(f'{root} cannot be written: {error}; give another folder') from error
    return True


def draw_object(rng: np.random.Generator, label: int, side: int) -> np.ndarray:
    """Draws one whole object of any shape on a grey background.

    Args:
        rng: Source of everything random.
        label: Index of a class of `OBJECT_CLASSES`.
        side: Side of the image in pixels.

    Returns:
        The picture (side, side, 3) in BGR, uint8.
    """
    hue, pattern = divmod(label, len(PATTERNS))
    canvas = texture(rng, side, contrast=15) + rng.uniform(40, 200)
    length = rng.uniform(0.45, 0.85) * side
    middle = rng.uniform(length / 2, side - length / 2, 2)
    mask = SHAPES[CLASSES[rng.integers(len(CLASSES))]](rng, side, length, middle)
    paint = texture(rng, side, contrast=15) + colour(rng, hue, canvas[mask])
    paint += 45 * PATTERNS[tuple(PATTERNS)[pattern]](rng, side)[..., None]
    canvas[mask] = paint[mask]
    canvas += rng.normal(0, 6, canvas.shape)
    return cv2.GaussianBlur(np.clip(canvas, 0, 255).astype(np.uint8), (3, 3), 0)


def _write_split(root: Path, split: str, seed: tuple[int, int], count: int, side: int) -> None:
    (root / split).mkdir()
    (root / 'annotations').mkdir(exist_ok=True)
    images, annotations = [], []
    for index in track(range(count), description=f'drawing {split} images'):
        picture, objects = draw_image(np.random.default_rng((*seed, index)), side)
        name = f'{index:06d}.jpg'
        cv2.imwrite(str(root / split / name), picture, JPEG)
        images.append({'id': index + 1, 'file_name': name, 'height': side, 'width': side})
        for shape in objects:
            annotations.append({'id': len(annotations) + 1, 'image_id': index + 1, **shape})
    # Some tools, such as mmdet's coco_error_analysis, do not read annotations without `supercategory`.
    categories = [{'id': i + 1, 'name': name, 'supercategory': 'shape'} for i, name in enumerate(CLASSES)]
    content = {
        'info': {'description': 'fishnet_mmdet demo set, drawn'},
        'images': images,
        'annotations': annotations,
        'categories': categories,
    }
    (root / 'annotations' / f'instances_{split}.json').write_text(json.dumps(content))


def draw_image(rng: np.random.Generator, side: int) -> tuple[np.ndarray, list[dict]]:
    """Draws one image with several objects.

    Args:
        rng: Source of everything random.
        side: Side of the image in pixels.

    Returns:
        The picture (side, side, 3) in BGR, uint8, and its objects as COCO annotations without ids.
    """
    canvas = texture(rng, side, contrast=30) + rng.uniform(40, 200, 3)
    layers: list[tuple[int, np.ndarray, bool]] = []  # category, visible mask, crowd
    for category, mask, crowd in _shapes(rng, side):
        left = [visible & ~mask for _, visible, _ in layers]
        before = [visible for _, visible, _ in layers]
        if any(now.sum() < MIN_VISIBLE * was.sum() for now, was in zip(left, before, strict=True)):
            continue
        layers = [(c, now, i) for now, (c, _, i) in zip(left, layers, strict=True)]
        layers.append((category, mask, crowd))
        paint = texture(rng, side, contrast=15) + colour(rng, category - 1, canvas[mask])
        canvas[mask] = paint[mask]
    canvas += rng.normal(0, 6, canvas.shape)
    picture = cv2.GaussianBlur(np.clip(canvas, 0, 255).astype(np.uint8), (3, 3), 0)
    return picture, [_annotation(rng, c, mask, crowd) for c, mask, crowd in layers]


def _shapes(rng: np.random.Generator, side: int) -> Iterator[tuple[int, np.ndarray, bool]]:
    """Masks from back to front: sometimes a crowd of small discs, then single objects."""
    if rng.random() < CROWD_ODDS:
        crowd = np.zeros((side, side), bool)
        middle = rng.uniform(0.2 * side, 0.8 * side, 2)
        for _ in range(rng.integers(8, 15)):
            crowd |= SHAPES['disc'](rng, side, rng.uniform(8, 14), middle + rng.normal(0, 16, 2))
        if crowd.any():
            yield CLASSES.index('disc') + 1, crowd, True
    for size in sorted(rng.choice(3, rng.integers(2, 6), p=SIZE_ODDS), reverse=True):
        low, high = list(SIDES.values())[size]
        length = min(rng.uniform(low, high), 0.9 * side)
        margin = 0.35 * length  # objects may leave the image, but not far
        middle = rng.uniform(margin, side - margin, 2)
        category = int(rng.integers(len(CLASSES)))
        mask = SHAPES[CLASSES[category]](rng, side, length, middle)
        if mask.sum() >= 40:
            yield category + 1, mask, False


def _annotation(rng: np.random.Generator, category: int, mask: np.ndarray, crowd: bool) -> dict:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    polygons = outline(mask)
    if crowd or not polygons or rng.random() < RLE_ODDS:
        segmentation = {'size': list(rle['size']), 'counts': rle['counts'].decode()}
    else:
        segmentation = polygons
    return {
        'category_id': category,
        'segmentation': segmentation,
        'bbox': coco_mask.toBbox(rle).tolist(),
        'area': float(coco_mask.area(rle)),
        'iscrowd': int(crowd),
    }
