"""A drawn data set in COCO's layout: small enough to learn on two cores, odd enough to exercise the real pipeline.

Discs, boxes and triangles of many colours, turned, textured and covering each other, over a textured noisy background;
small, medium and large by COCO's measure; polygons, RLE, and crowd regions. Everything follows from the seed.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask
from rich.progress import track

CLASSES = ('disc', 'box', 'triangle')

HUES = (0, 60, 120)
"""Middle of each class's range of hues, of 180. The ranges do not meet: colour tells the classes apart as shape does, which
is what lets a network learn them in minutes."""

SIDES = {'small': (14, 30), 'medium': (38, 90), 'large': (120, 170)}
"""Range of an object's side in pixels; COCO calls an object small below 32^2 and large above 96^2 pixels."""

SIZE_ODDS = (0.15, 0.6, 0.25)
CROWD_ODDS = 0.1
RLE_ODDS = 0.2
MIN_VISIBLE = 0.6
"""A shape that would leave less than this fraction of one behind it is not drawn."""


@dataclass(frozen=True, kw_only=True)
class DemoSpec:
    """What a demo set holds; its JSON beside the data tells whether a set on disk is this one.

    Attributes:
        train: Number of training images.
        val: Number of validation images, which share no drawing with the training images.
        side: Side of the square images in pixels.
        seed: Seed of every drawing.
        version: Raised with every change of the drawing code.
    """

    train: int = 480
    val: int = 80
    side: int = 192
    seed: int = 0
    version: int = 1


def make_demo_data(root: Path | str, spec: DemoSpec | None = None) -> bool:
    """Writes `train/`, `val/` and `annotations/instances_{train,val}.json` under `root`.

    The folder appears in one move when all is drawn, so an interrupted run leaves nothing half-made.

    Args:
        root: The folder; a demo set of another spec is replaced, anything else is left alone.
        spec: What to draw.

    Returns:
        Whether anything had to be drawn.

    Raises:
        FileExistsError: `root` holds something that is not a demo set.
    """
    root, spec = Path(root), spec or DemoSpec()
    stamp = root / 'demo_spec.json'
    wanted = json.dumps(asdict(spec))
    if stamp.is_file() and stamp.read_text() == wanted:
        return False
    if root.exists() and not stamp.is_file() and any(root.iterdir()):
        raise FileExistsError(f'{root} is there and is no demo set: name another folder, or move it away')

    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix='.demo-') as scratch:
        drawn = Path(scratch) / 'drawn'
        drawn.mkdir()
        for number, split in enumerate(('train', 'val')):
            _write_split(drawn, split, (spec.seed, number), getattr(spec, split), spec.side)
        (drawn / 'demo_spec.json').write_text(wanted)
        shutil.rmtree(root, ignore_errors=True)
        drawn.rename(root)  # one move: the scratch folder lies on the same file system
    return True


def _write_split(root: Path, split: str, seed: tuple[int, int], count: int, side: int) -> None:
    (root / split).mkdir()
    (root / 'annotations').mkdir(exist_ok=True)
    images, annotations = [], []
    for index in track(range(count), description=f'drawing {split} images'):
        picture, objects = draw_image(np.random.default_rng((*seed, index)), side)
        name = f'{index:06d}.jpg'
        cv2.imwrite(str(root / split / name), picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
        images.append({'id': index + 1, 'file_name': name, 'height': side, 'width': side})
        for shape in objects:
            annotations.append({'id': len(annotations) + 1, 'image_id': index + 1, **shape})
    categories = [{'id': i + 1, 'name': name} for i, name in enumerate(CLASSES)]
    content = {
        'info': {'description': 'fishnet_mmdet demo set, drawn'},
        'images': images,
        'annotations': annotations,
        'categories': categories,
    }
    (root / 'annotations' / f'instances_{split}.json').write_text(json.dumps(content))


def draw_image(rng: np.random.Generator, side: int) -> tuple[np.ndarray, list[dict]]:
    """Draws one image.

    Returns:
        The picture (side, side, 3) in BGR, uint8, and its objects as COCO annotations without ids.
    """
    canvas = _texture(rng, side, contrast=30) + rng.uniform(40, 200, 3)
    layers: list[tuple[int, np.ndarray, bool]] = []  # category, mask of what is visible, crowd
    for category, mask, crowd in _shapes(rng, side):
        left = [visible & ~mask for _, visible, _ in layers]
        before = [visible for _, visible, _ in layers]
        if any(now.sum() < MIN_VISIBLE * was.sum() for now, was in zip(left, before, strict=True)):
            continue
        layers = [(c, now, i) for now, (c, _, i) in zip(left, layers, strict=True)]
        layers.append((category, mask, crowd))
        paint = _texture(rng, side, contrast=15) + _colour(rng, category, canvas[mask])
        canvas[mask] = paint[mask]
    canvas += rng.normal(0, 6, canvas.shape)
    picture = cv2.GaussianBlur(np.clip(canvas, 0, 255).astype(np.uint8), (3, 3), 0)
    return picture, [_annotation(rng, c, mask, crowd) for c, mask, crowd in layers]


def _shapes(rng: np.random.Generator, side: int) -> Iterator[tuple[int, np.ndarray, bool]]:
    """Masks from the background to the front: perhaps a crowd of small discs, then single objects."""
    if rng.random() < CROWD_ODDS:
        crowd = np.zeros((side, side), bool)
        middle = rng.uniform(0.2 * side, 0.8 * side, 2)
        for _ in range(rng.integers(8, 15)):
            crowd |= _disc(rng, side, rng.uniform(8, 14), middle + rng.normal(0, 16, 2))
        if crowd.any():
            yield CLASSES.index('disc') + 1, crowd, True
    drawers: tuple[Callable, ...] = (_disc, _box, _triangle)
    for size in sorted(rng.choice(3, rng.integers(2, 6), p=SIZE_ODDS), reverse=True):
        low, high = list(SIDES.values())[size]
        length = min(rng.uniform(low, high), 0.9 * side)
        margin = 0.35 * length  # objects may leave the image, but not far
        middle = rng.uniform(margin, side - margin, 2)
        category = int(rng.integers(len(CLASSES)))
        mask = drawers[category](rng, side, length, middle)
        if mask.sum() >= 40:
            yield category + 1, mask, False


def _fill(side: int, corners: np.ndarray) -> np.ndarray:
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1)
    return mask.astype(bool)


def _disc(rng: np.random.Generator, side: int, length: float, middle: np.ndarray) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    axes = length / 2 * np.array([1.0, rng.uniform(0.75, 1.0)])
    return _fill(side, _turn(rng, axes * np.stack([np.cos(angles), np.sin(angles)], 1)) + middle)


def _box(rng: np.random.Generator, side: int, length: float, middle: np.ndarray) -> np.ndarray:
    half = length / 2 * np.array([0.9, rng.uniform(0.55, 0.9)])
    return _fill(side, _turn(rng, half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])) + middle)


def _triangle(rng: np.random.Generator, side: int, length: float, middle: np.ndarray) -> np.ndarray:
    angles = np.array([0, 2, 4]) * np.pi / 3 + rng.uniform(-0.25, 0.25, 3)
    corners = 0.62 * length * np.stack([np.cos(angles), np.sin(angles)], 1)
    return _fill(side, _turn(rng, corners) + middle)


def _turn(rng: np.random.Generator, points: np.ndarray) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return points @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _texture(rng: np.random.Generator, side: int, contrast: float) -> np.ndarray:
    """Smooth coloured clouds of two sizes, zero on average: (side, side, 3) float."""
    clouds = np.zeros((side, side, 3))
    for cells, strength in ((4, 0.6), (16, 0.4)):
        coarse = rng.normal(0, 1, (cells, cells, 3)).astype(np.float32)
        clouds += strength * cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return contrast * clouds


def _colour(rng: np.random.Generator, category: int, covered: np.ndarray) -> np.ndarray:
    """A colour of the class's own broad range that can be told from what it is painted over, (3,) BGR."""
    behind = covered.mean(0)
    while True:
        hue = (HUES[category - 1] + rng.uniform(-25, 25)) % 180
        hsv = np.array([[[hue, rng.uniform(90, 255), rng.uniform(90, 255)]]], np.uint8)
        colour = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].astype(float)
        if np.abs(colour - behind).max() > 50:
            return colour


def _outline(mask: np.ndarray, finer: int = 4) -> list[list[float]]:
    """Polygons along the edges of a mask's pixels; OpenCV's own run through their centres, half a pixel inside."""
    fine = cv2.resize(mask.astype(np.uint8), None, fx=finer, fy=finer, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [((c.reshape(-1) + 0.5) / finer).tolist() for c in contours if len(c) >= 3]


def _annotation(rng: np.random.Generator, category: int, mask: np.ndarray, crowd: bool) -> dict:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    polygons = _outline(mask)
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
