"""A drawn data set of its own for each test, about to be spoilt, and the register of ways to spoil it."""

import json
import shutil
import struct
import zlib
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image
from pycocotools import mask as coco_mask

SPLITS = ('train', 'val', 'test')
SIDE = 96


@dataclass
class Case:
    """A drawn data set of its own, with a config, about to be spoilt."""

    root: Path
    cfg: Config
    rng: np.random.Generator
    split: str = 'train'
    data: dict = field(default_factory=dict)
    raw: dict = field(default_factory=dict)

    @classmethod
    def of(cls, drawn, cfg, folder, seed, split):
        """A copy, in a folder, of a set that was drawn, and of its config."""
        root = folder / 'data'
        shutil.copytree(drawn, root)
        cfg = deepcopy(cfg)
        for name in SPLITS:
            cfg[f'{name}_dataloader'] = cfg[f'{name}_dataloader'].copy()
            cfg[f'{name}_dataloader'].dataset.data_root = f'{root}/'
        for name in ('val', 'test'):
            cfg[f'{name}_evaluator'].ann_file = f'{root}/annotations/instances_val.json'
        cfg.work_dir = str(folder / 'work')
        files = {s: root / f'annotations/instances_{s}.json' for s in ('train', 'val')}
        data = {s: json.loads(file.read_text()) for s, file in files.items()}
        return cls(root, cfg, np.random.default_rng(seed), split, data)

    @property
    def images(self):
        return self.data[self.split]['images']

    @property
    def annotations(self):
        return self.data[self.split]['annotations']

    def image(self):
        return self.images[self.rng.integers(len(self.images))]

    def annotation(self, polygon=False, image=None):
        """An annotation that is not a crowd, of an image if one is given; as a polygon on demand."""
        rows = [a for a in self.annotations if not a['iscrowd'] and image in (None, a['image_id'])]
        row = rows[self.rng.integers(len(rows))]
        if polygon:
            row['segmentation'] = [corners(row['bbox'])]
        return row

    def rle(self):
        row = self.annotation()
        x, y, w, h = map(int, row['bbox'])
        mask = np.zeros((SIDE, SIDE), np.uint8, order='F')
        mask[y : y + h, x : x + w] = 1
        row['segmentation'] = coco_mask.encode(mask)
        row['segmentation']['counts'] = row['segmentation']['counts'].decode()
        return row

    def path(self, image):
        return self.root / self.split / image['file_name']

    def loader(self, split=None):
        return self.cfg[f'{split or self.split}_dataloader'].dataset

    def write(self):
        for split, data in self.data.items():
            content = self.raw.get(split, json.dumps(data).encode())
            (self.root / f'annotations/instances_{split}.json').write_bytes(content)


def corners(box):
    x, y, w, h = box
    return [x, y, x + w, y, x + w, y + h, x, y + h]


def as_png(case, mode):
    """Replaces an image by a PNG of another mode, under its own name."""
    image = case.image()
    picture = Image.open(case.path(image)).convert('L' if mode == 'I;16' else mode)
    if mode == 'I;16':
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
    case.path(image).unlink()
    image['file_name'] = 'picture.png'
    picture.save(case.path(image))
    return image


def stretched(case):
    """An image made wider, with its entry; its masks become polygons, which lie inside as before."""
    image = case.image()
    image['width'] = SIDE + 24
    Image.open(case.path(image)).resize((image['width'], SIDE)).save(case.path(image))
    for row in case.annotations:
        if row['image_id'] == image['id']:
            row['segmentation'] = [corners(row['bbox'])]
    return image


def set_orientation(path, value):
    picture = Image.open(path)
    picture.load()
    exif = Image.Exif()
    exif[0x0112] = value
    picture.save(path, 'JPEG', exif=exif)


def png_of(width, height):
    """A PNG that says it is that large, in a hundred bytes."""

    def chunk(name, content):
        body = name + content
        return struct.pack('>I', len(content)) + body + struct.pack('>I', zlib.crc32(body))

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b'IHDR', header), chunk(b'IDAT', zlib.compress(b'\0' * 99)), chunk(b'IEND', b''))
    return b'\x89PNG\r\n\x1a\n' + b''.join(parts)


DEFECTS = {}


def defect(kind, *splits, times=1):
    """Registers a way to spoil a data set, in these splits. It returns what the finding is about: image, annotation."""

    def register(spoil):
        for split in splits or ('train', 'val'):
            for seed in range(times):
                DEFECTS[f'{spoil.__name__}-{split}-{seed}'] = (kind, spoil, split, seed)
        return spoil

    return register
