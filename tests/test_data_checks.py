"""Every defect that the preflight knows, put into a drawn data set one at a time: found, and nothing else with it."""

import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from coco_size import ANNOTATIONS, IMAGES, measure, write
from conftest import CONFIGS, REAL_DATA, REPO, demo_options
from mmdet.utils import register_all_modules
from mmengine.config import Config
from PIL import Image
from pycocotools import mask as coco_mask

from fishnet_mmdet.data.coco import is_id
from fishnet_mmdet.preflight import KINDS, PreflightError, check, examine
from fishnet_mmdet.preflight.annotations import check_annotations
from fishnet_mmdet.preflight.images import Cache, cache_folder, look_at_all

register_all_modules(init_default_scope=True)
SPLITS = ('train', 'val', 'test')
WHERE = {'train': 'train', 'val': 'val, test'}
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

    @property
    def images(self):
        return self.data[self.split]['images']

    @property
    def annotations(self):
        return self.data[self.split]['annotations']

    def image(self):
        return self.images[self.rng.integers(len(self.images))]

    def annotation(self, polygon=False, image=None):
        """Any that is no crowd, of an image if one is given; made a polygon on demand."""
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


@pytest.fixture(scope='module')
def demo_config():
    return Config.fromfile(CONFIGS / 'mask_rcnn_fishnet_demo.py')


@pytest.fixture
def make_case(demo_data, demo_config, tmp_path):
    def make(seed=0, split='train'):
        root = tmp_path / 'data'
        shutil.copytree(demo_data, root)
        cfg = deepcopy(demo_config)
        for name in SPLITS:
            cfg[f'{name}_dataloader'] = cfg[f'{name}_dataloader'].copy()
            cfg[f'{name}_dataloader'].dataset.data_root = f'{root}/'
        for name in ('val', 'test'):
            cfg[f'{name}_evaluator'].ann_file = f'{root}/annotations/instances_val.json'
        cfg.work_dir = str(tmp_path / 'work')
        data = {
            s: json.loads((root / f'annotations/instances_{s}.json').read_text()) for s in ('train', 'val')
        }
        return Case(root, cfg, np.random.default_rng(seed), split, data)

    return make


DEFECTS = {}


def defect(kind, *splits, times=1):
    """Registers a way to spoil a data set, in these splits. It returns what the finding is about: image, annotation."""

    def register(spoil):
        for split in splits or ('train', 'val'):
            for seed in range(times):
                DEFECTS[f'{spoil.__name__}-{split}-{seed}'] = (kind, spoil, split, seed)
        return spoil

    return register


# Image files


@defect('image-missing')
def image_gone(case):
    image = case.image()
    case.path(image).unlink()
    return image['id'], None


@defect('image-missing')
def link_to_nothing(case):
    image = case.image()
    case.path(image).unlink()
    case.path(image).symlink_to(case.root / case.split / 'nothing.jpg')
    return image['id'], None


@defect('image-empty')
def zero_bytes(case):
    image = case.image()
    case.path(image).write_bytes(b'')
    return image['id'], None


@defect('image-truncated', times=3)
def jpeg_cut_short(case):
    image = case.image()
    content = case.path(image).read_bytes()
    case.path(image).write_bytes(content[: int(len(content) * case.rng.uniform(0.5, 0.999))])
    return image['id'], None


@defect('image-truncated', times=2)
def png_cut_short(case):
    image = as_png(case, 'RGB')
    content = case.path(image).read_bytes()
    case.path(image).write_bytes(content[: int(len(content) * case.rng.uniform(0.5, 0.99))])
    return image['id'], None


@defect('image-truncated')
def jpeg_filled_up_with_zeros(case):
    """As a copy that was broken off leaves it on some file systems: the right size, and nothing in it."""
    image = case.image()
    content = case.path(image).read_bytes()
    half = len(content) // 2
    case.path(image).write_bytes(content[:half] + bytes(len(content) - half))
    return image['id'], None


@defect('image-broken')
def a_web_page(case):
    image = case.image()
    case.path(image).write_text('<!DOCTYPE html><html>sign in</html>')
    return image['id'], None


@defect('image-broken', times=2)
def noise(case):
    image = case.image()
    case.path(image).write_bytes(b'\x01' + case.rng.bytes(3000))
    return image['id'], None


@defect('image-broken')
def a_program(case):
    """Pillow would call Ghostscript for it."""
    image = case.image()
    case.path(image).write_bytes(b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 96 96\n%%EndComments\n')
    return image['id'], None


@defect('image-broken', 'train')
def a_folder(case):
    image = case.image()
    case.path(image).unlink()
    case.path(image).mkdir()
    return image['id'], None


@defect('image-broken', 'train')
def a_pipe(case):
    image = case.image()
    case.path(image).unlink()
    os.mkfifo(case.path(image))
    return image['id'], None


@defect('image-broken')
def names_that_no_file_has(case):
    image = case.image()
    image['file_name'] = ('\ud800\x1b[31m.jpg', 'x' * 300)[case.split == 'val']
    return image['id'], None


@defect('image-size', times=2)
def file_of_another_size(case):
    image = case.image()
    size = (SIDE + int(case.rng.integers(1, 9)), SIDE)
    Image.open(case.path(image)).resize(size).save(case.path(image))
    return image['id'], None


@defect('image-size')
def entry_of_another_size(case):
    image = stretched(case)
    image['width'], image['height'] = SIDE, image['width']
    return image['id'], None


@defect('image-size', times=2)
def turned_by_exif(case):
    """The stored size is annotated, but readers turn the image on its side."""
    image = stretched(case)
    set_orientation(case.path(image), int(case.rng.integers(5, 9)))
    return image['id'], None


@defect('image-turned', times=3)
def mirrored_by_exif(case):
    image = case.image()
    set_orientation(case.path(image), int(case.rng.integers(2, 9)))
    return image['id'], None


@defect('image-16-bit')
def sixteen_bits(case):
    return as_png(case, 'I;16')['id'], None


@defect('image-huge')
def a_bomb(case):
    image = case.image()
    case.path(image).write_bytes(png_of(60_000, 60_000))
    return image['id'], None


@defect('path-escapes')
def parent_folder(case):
    image = case.image()
    image['file_name'] = f'../../{case.root.name}/{case.split}/../../other.jpg'
    return image['id'], None


@defect('path-escapes')
def absolute_path(case):
    image = case.image()
    image['file_name'] = '/etc/passwd'
    return image['id'], None


@defect('path-escapes')
def link_out_of_the_root(case):
    image = case.image()
    target = case.root.parent / 'elsewhere.jpg'
    case.path(image).rename(target)
    case.path(image).symlink_to(target)
    return image['id'], None


# Entries of images and categories


@defect('image-id-twice')
def image_id_twice(case):
    first, second = case.rng.choice(len(case.images), 2, replace=False)
    case.data[case.split]['annotations'] = [
        a for a in case.annotations if a['image_id'] != case.images[second]['id']
    ]
    case.images[second]['id'] = case.images[first]['id']
    rest = [a for a in case.annotations if a['image_id'] == case.images[first]['id']]
    assert rest
    return case.images[first]['id'], None


def unknown_image(case, **change):
    """An image without annotations that is spoilt: nothing else can be found about it."""
    entry = dict(id=990, file_name='new.jpg', width=SIDE, height=SIDE)
    shutil.copy(case.path(case.image()), case.root / case.split / 'new.jpg')
    for key, value in change.items():
        if value is None:
            del entry[key]
        else:
            entry[key] = value
    case.images.append(entry)
    return None, None


for name, change in {
    'no_width': dict(width=None),
    'no_file_name': dict(file_name=None),
    'no_image_id': dict(id=None),
    'width_is_huge': dict(width=2**31 - 1),
    'height_is_text': dict(height='96'),
    'width_is_negative': dict(width=-96),
    'height_is_fraction': dict(height=96.5),
    'width_is_zero': dict(width=0),
    'file_name_is_number': dict(file_name=7),
    'file_name_is_empty': dict(file_name=''),
    'file_name_with_null': dict(file_name='a\0.jpg'),
    'image_id_is_list': dict(id=[1]),
    'image_id_is_true': dict(id=True),
    'image_id_is_huge': dict(id=10**30),
}.items():

    def spoil(case, change=change):
        return unknown_image(case, **change)

    spoil.__name__ = name
    defect('entry-malformed', 'train')(spoil)


@defect('entry-malformed')
def image_is_null(case):
    case.images.insert(int(case.rng.integers(len(case.images))), None)
    return None, None


@defect('category-twice')
def category_id_twice(case):
    case.data[case.split]['categories'].append(dict(id=1, name='star'))
    return None, None


@defect('category-twice')
def category_name_twice(case):
    case.data[case.split]['categories'].append(dict(id=9, name='box'))
    return None, None


@defect('classes-differ')
def class_misspelt(case):
    case.data[case.split]['categories'][2]['name'] = 'triangel'
    return None, None


@defect('classes-differ')
def class_unknown(case):
    case.data[case.split]['categories'].append(dict(id=9, name='star'))
    return None, None


@defect('classes-order')
def classes_turned_round(case):
    case.data[case.split]['categories'].reverse()
    return None, None


@defect('image-absent')
def image_of_annotation_absent(case):
    row = case.annotation()
    row['image_id'] = 4711
    return 4711, row['id']


@defect('category-unknown', times=2)
def category_unknown(case):
    row = case.annotation()
    row['category_id'] = int(case.rng.integers(90, 99))
    return row['image_id'], row['id']


@defect('annotation-id-twice')
def annotation_id_twice(case):
    first, second = sorted(case.rng.choice(len(case.annotations), 2, replace=False))
    case.annotations[second]['id'] = case.annotations[first]['id']
    return case.annotations[second]['image_id'], case.annotations[first]['id']


@defect('annotation-id-zero', 'val')
def annotation_id_zero(case):
    row = case.annotation()
    row['id'] = 0
    return row['image_id'], 0


# Values of annotations


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def changes(kind, name, change, times=1, splits=(), about_image=True, polygon=True):
    def spoil(case):
        row = case.annotation(polygon=polygon)
        change(row, case.rng)
        return row['image_id'] if about_image else None, row.get('id') if is_id(row.get('id')) else None

    spoil.__name__ = name
    defect(kind, *splits, times=times)(spoil)


def put(key, value):
    return lambda row, rng: row.__setitem__(key, value)


def put_in_box(index, value):
    return lambda row, rng: row['bbox'].__setitem__(int(index), value)


for index in range(4):
    for name, value in (('nan', float('nan')), ('inf', float('inf')), ('huge', 1e12), ('endless', 10**400)):
        splits = ('train',) if index % 2 else ('val',)
        changes('not-finite', f'box_{index}_{name}', put_in_box(index, value), splits=splits)
for name, value in {
    'null': None,
    'text': '1,2,3,4',
    'three': [1, 2, 3],
    'texts': ['1', '2', '3', '4'],
    'nested': [[1, 2, 3, 4]],
    'deep': nested(900),
    'boolean': [True, 2, 3, 4],
    'object': {'x': 1},
}.items():
    changes('entry-malformed', f'box_is_{name}', put('bbox', value), splits=('train',), about_image=False)
for key in ('bbox', 'area', 'image_id', 'category_id', 'id'):
    changes(
        'entry-malformed',
        f'no_{key}',
        lambda row, rng, key=key: row.pop(key),
        splits=('val',),
        about_image=False,
    )
changes(
    'entry-malformed', 'no_iscrowd', lambda row, rng: row.pop('iscrowd'), splits=('val',), about_image=False
)
for key, value in (('area', '12'), ('area', None), ('image_id', None), ('image_id', 1.5), ('category_id', '1'),
                   ('category_id', [1]), ('id', 'a'), ('id', 10**30), ('iscrowd', 'yes'), ('iscrowd', 3)):  # fmt: skip
    changes('entry-malformed', f'{key}_is_{value}', put(key, value), splits=('train',), about_image=False)
changes('not-finite', 'area_nan', put('area', float('nan')))
changes('box-negative', 'width_negative', put_in_box(2, -5.0))
changes('box-negative', 'height_negative', put_in_box(3, -0.5))
changes('box-tiny', 'no_width', put_in_box(2, 0))
changes('box-tiny', 'half_a_pixel', put_in_box(3, 0.5))
changes(
    'box-outside', 'right_of_image', lambda row, rng: row['bbox'].__setitem__(0, rng.uniform(SIDE, 2 * SIDE))
)
changes(
    'box-outside',
    'above_image',
    lambda row, rng: row['bbox'].__setitem__(1, -row['bbox'][3] - rng.uniform(0, 9)),
)
changes(
    'box-over-edge', 'beyond_the_edge', lambda row, rng: row['bbox'].__setitem__(2, SIDE - row['bbox'][0] + 3)
)
changes('area-empty', 'no_area', put('area', 0))
changes('area-empty', 'negative_area', put('area', -3.5))
changes('mask-missing', 'no_segmentation', lambda row, rng: row.pop('segmentation'))
changes('mask-missing', 'segmentation_is_null', put('segmentation', None))
changes('mask-missing', 'segmentation_is_empty', put('segmentation', []))
changes('mask-missing', 'segmentation_is_object', put('segmentation', {}))
changes('polygon-short', 'no_corner', put('segmentation', [[]]))
changes('polygon-short', 'two_corners', put('segmentation', [[1, 2, 3, 4]]))
changes('polygon-short', 'odd_count', lambda row, rng: row['segmentation'][0].append(5.0))
changes('polygon-short', 'short_part_first', lambda row, rng: row['segmentation'].insert(0, [1, 2, 3, 4]))
changes('polygon-part-short', 'short_part_later', lambda row, rng: row['segmentation'].append([1, 2, 3, 4]))
changes(
    'polygon-over-edge', 'corner_beyond', lambda row, rng: row['segmentation'][0].__setitem__(2, SIDE + 4.0)
)
changes('polygon-outside', 'corner_far_away', lambda row, rng: row['segmentation'][0].__setitem__(2, 3e8))
changes('polygon-outside', 'part_outside',
        lambda row, rng: row['segmentation'].append(corners([SIDE + 5, 3, 10, 10])))  # fmt: skip
for name, value in (('nan', float('nan')), ('inf', float('-inf')), ('huge', 1e300), ('endless', -(10**400))):
    changes('not-finite', f'corner_{name}',
            lambda row, rng, v=value: row['segmentation'][0].__setitem__(int(rng.integers(8)), v))  # fmt: skip
changes('entry-malformed', 'corner_is_text', lambda row, rng: row['segmentation'][0].__setitem__(3, '4'))
changes('entry-malformed', 'corner_is_null', lambda row, rng: row['segmentation'][0].__setitem__(3, None))
changes(
    'entry-malformed',
    'corners_unnested',
    lambda row, rng: row.__setitem__('segmentation', [1, 2, 3, 4, 5, 6]),
)
changes('entry-malformed', 'segmentation_is_text', put('segmentation', 'x'))


def rle_changes(kind, name, change, times=1):
    def spoil(case):
        row = case.rle()
        change(row['segmentation'], case.rng)
        return row['image_id'], row['id']

    spoil.__name__ = name
    defect(kind, times=times)(spoil)


def put_rle(**change):
    return lambda rle, rng: rle.update(change)


rle_changes('rle-size', 'rle_of_another_size', put_rle(size=[48, 48], counts=[100, 48 * 48 - 100]))
rle_changes('rle-size', 'rle_turned', put_rle(size=[48, 192], counts=[100, 48 * 192 - 100]))
rle_changes('mask-empty', 'rle_of_zeros', put_rle(counts=[SIDE * SIDE]))
rle_changes('rle-broken', 'runs_too_few', put_rle(counts=[10, 20, 30]))
rle_changes('rle-broken', 'runs_too_many', put_rle(counts=[10, SIDE * SIDE]))
rle_changes('rle-broken', 'run_negative', put_rle(counts=[-10, SIDE * SIDE + 10]))
rle_changes('rle-broken', 'run_huge', put_rle(counts=[10**400, 1]))
rle_changes('rle-broken', 'run_is_fraction', put_rle(counts=[0.5, SIDE * SIDE - 0.5]))
rle_changes('rle-broken', 'run_is_text', put_rle(counts=['1']))
rle_changes('rle-broken', 'counts_missing', lambda rle, rng: rle.pop('counts'))
rle_changes('rle-broken', 'counts_is_null', put_rle(counts=None))
rle_changes('rle-broken', 'counts_is_empty', put_rle(counts=''))
rle_changes('rle-broken', 'counts_is_no_rle', put_rle(counts='no run lengths at all'))
rle_changes('rle-broken', 'counts_is_no_ascii', put_rle(counts='\ud800\u20ac'))
rle_changes('rle-broken', 'counts_without_end', put_rle(counts='o' * 50))
rle_changes('rle-broken', 'size_missing', lambda rle, rng: rle.pop('size'))
rle_changes('rle-broken', 'size_is_text', put_rle(size='96'))
rle_changes('rle-broken', 'size_is_negative', put_rle(size=[-96, -96]))
rle_changes('rle-broken', 'counts_cut', lambda rle, rng: rle.update(counts=rle['counts'][:-1]), times=2)
rle_changes('rle-broken', 'counts_shifted', lambda rle, rng: rle.update(counts='2' + rle['counts']), times=2)

# Whole files, and what files mean together


def file_is(name, content):
    def spoil(case):
        case.raw[case.split] = content(case) if callable(content) else content
        return None, None

    spoil.__name__ = name
    defect('file-broken')(spoil)


file_is('file_empty', b'')
file_is('file_cut', lambda case: json.dumps(case.data[case.split]).encode()[:-200])
file_is('file_is_web_page', b'<html>')
file_is('file_is_list', b'[1, 2]')
file_is('file_is_number', b'1' * 5000)
file_is('file_is_endless', b'[' * 200_000)
file_is('file_is_no_text', b'\xff\xfe\x00')
file_is('file_with_mark', lambda case: b'\xef\xbb\xbf' + json.dumps(case.data[case.split]).encode())
file_is('file_without_categories', b'{"images": [], "annotations": []}')
file_is('file_with_object_for_list', b'{"images": {}, "annotations": [], "categories": []}')


@defect('no-objects')
def nothing_but_crowds(case):
    for row in case.annotations:
        row['iscrowd'] = 1
    return None, None


@defect('no-objects')
def no_annotation(case):
    case.annotations.clear()
    return None, None


@defect('no-objects', 'train')
def no_list_of_annotations(case):
    del case.data['train']['annotations']
    return None, None


@defect('no-images')
def no_image(case):
    case.images.clear()
    case.annotations.clear()
    if case.split == 'val':
        shutil.rmtree(case.root / 'val')
        (case.root / 'val').mkdir()
    return None, None


@defect('all-filtered', 'train')
def every_image_too_small(case):
    case.loader().filter_cfg.min_size = 1000
    return None, None


@defect('data-missing')
def annotation_file_elsewhere(case):
    case.loader().ann_file = 'annotations/elsewhere.json'
    if case.split == 'val':
        case.loader('test').ann_file = 'annotations/elsewhere.json'
    return None, None


@defect('data-missing')
def image_folder_elsewhere(case):
    for split in ('val', 'test') if case.split == 'val' else ('train',):
        case.loader(split).data_prefix.img = 'elsewhere/'
    return None, None


@defect('not-checked', 'train')
def remote_data(case):
    case.loader().data_root = 's3://bucket/data/'
    return None, None


@pytest.mark.parametrize('name', DEFECTS)
def test_a_defect_is_found_and_nothing_else(make_case, name):
    kind, spoil, split, seed = DEFECTS[name]
    case = make_case(seed, split)
    image, annotation = spoil(case)
    case.write()
    report = examine(case.cfg, SPLITS, weights=False)
    assert [(f.kind, f.where, f.image, f.annotation) for f in report.findings] == [
        (kind, WHERE[split], image, annotation)
    ]
    assert f'[{kind}]' in report.text() and report.text().replace('\n', '').isprintable()
    assert bool(report.errors) == KINDS[kind].stops


def test_all_kinds_have_a_defect():
    elsewhere = {
        'weights',
        'folders',
        'classes-of-splits',
        'evaluator-images',
    }  # tested below and in other files
    assert {kind for kind, *_ in DEFECTS.values()} | elsewhere == set(KINDS)
    assert len(DEFECTS) >= 60


def test_the_documentation_tells_every_kind():
    rows = [
        row.split('|')
        for row in (REPO / 'docs/data-checks.md').read_text().splitlines()
        if row.startswith('| `')
    ]
    told = {name.strip(' `'): row[2].strip() for row in rows for name in row[1].split(',')}
    marks = {
        kind: 'error, skips' if it.drops else 'error' if it.stops else 'warning' for kind, it in KINDS.items()
    }
    assert told == marks


def test_all_defects_come_in_one_report(make_case):
    case = make_case()
    expected = []
    for seed, (kind, spoil) in enumerate(
        [
            ('image-missing', image_gone),
            ('image-absent', image_of_annotation_absent),
            ('category-twice', category_id_twice),
            ('image-truncated', jpeg_cut_short),
        ]
    ):
        case.rng = np.random.default_rng(seed + 2)
        expected.append((kind, *spoil(case)))
    case.write()
    with pytest.raises(PreflightError) as error:
        check(case.cfg, SPLITS, weights=False)
    found = [(f.kind, f.image, f.annotation) for f in examine(case.cfg, SPLITS, weights=False).findings]
    assert sorted(found, key=str) == sorted(expected, key=str)
    for kind, image, _ in expected:
        assert f'[{kind}]' in str(error.value)
        assert image is None or f'image {image}:' in str(error.value)


def test_long_lists_are_cut_and_counted(make_case):
    case = make_case()
    for image in case.images:
        case.path(image).unlink()
    report = examine(case.cfg, ['train'], weights=False)
    assert len(report.findings) == 8 and '... and 3 more' in report.text()
    assert len(report.as_json()['findings']) == 8


class TestTogether:
    """What two files or two parts of a config say of each other."""

    def test_an_evaluator_of_other_images(self, make_case):
        case = make_case(split='val')
        other = json.loads(json.dumps(case.data['val']))
        for number, image in enumerate(other['images']):
            image['id'] = 100 + number
        for row in other['annotations']:
            row['image_id'] += 99
        path = case.root / 'annotations/other.json'
        path.write_text(json.dumps(other))
        for split in ('val', 'test'):
            case.cfg[f'{split}_evaluator'].ann_file = str(path)
        report = examine(case.cfg, SPLITS, weights=False)
        assert [(f.kind, f.where) for f in report.findings] == [
            ('evaluator-images', 'val, test evaluator')
        ] * 2
        assert '1, 2, 3, 4' in report.text() and '100, 101, 102, 103' in report.text()

    def test_an_evaluator_of_two_loaders_together(self, make_case):
        case = make_case()
        whole, parts = case.data['val'], []
        for number in range(2):
            images = whole['images'][2 * number : 2 * number + 2]
            ids = {image['id'] for image in images}
            part = {**whole, 'images': images}
            part['annotations'] = [row for row in whole['annotations'] if row['image_id'] in ids]
            (case.root / f'annotations/part_{number}.json').write_text(json.dumps(part))
            parts.append({**case.loader('val'), 'ann_file': f'annotations/part_{number}.json'})
        case.cfg.val_dataloader.dataset = dict(type='ConcatDataset', datasets=parts)
        assert not examine(case.cfg, ['train', 'val'], weights=False).findings
        case.cfg.val_dataloader.dataset = dict(type='ConcatDataset', datasets=parts[:1])
        (finding,) = examine(case.cfg, ['train', 'val'], weights=False).findings
        assert finding.kind == 'evaluator-images' and '2 images of the evaluator' in finding.detail

    def test_an_evaluator_of_other_classes(self, make_case):
        case = make_case()
        other = json.loads(json.dumps(case.data['val']))
        other['categories'].reverse()
        path = case.root / 'annotations/other.json'
        path.write_text(json.dumps(other))
        case.cfg.val_evaluator.ann_file = str(path)
        (finding,) = examine(case.cfg, ['train', 'val'], weights=False).findings
        assert (finding.kind, finding.where, finding.file) == ('classes-order', 'val evaluator', str(path))

    def test_an_evaluator_that_is_a_link_to_the_same_file(self, make_case):
        case = make_case()
        path = case.root / 'annotations/other.json'
        path.symlink_to(case.root / 'annotations/instances_val.json')
        case.cfg.val_evaluator.ann_file = str(path)
        assert not examine(case.cfg, SPLITS, weights=False).findings

    def test_a_missing_file_of_the_evaluator_alone(self, make_case):
        case = make_case()
        case.cfg.val_evaluator = [dict(type='OfficialCocoMetric', ann_file='nowhere.json')]
        (finding,) = examine(case.cfg, ['train', 'val'], weights=False).findings
        assert finding.kind == 'data-missing' and 'nowhere.json' in finding.detail

    def test_splits_of_other_classes(self, make_case):
        case = make_case()
        case.cfg.ignored_classes = ('triangle',)
        case.loader('train').metainfo.classes = ('disc', 'box')
        kinds = {f.kind for f in examine(case.cfg, ['train', 'val'], weights=False).findings}
        assert 'classes-of-splits' in kinds

    def test_masks_are_judged_only_where_they_are_read(self, make_case):
        case = make_case()
        for data in case.data.values():
            for row in data['annotations']:
                del row['segmentation']
        case.write()
        for split in SPLITS:
            for step in case.loader(split).pipeline:
                step.pop('with_mask', None)
        for split in ('val', 'test'):
            case.cfg[f'{split}_evaluator'].metric = 'bbox'
        assert not examine(case.cfg, SPLITS, weights=False).findings
        case.cfg.val_evaluator.metric = ['bbox', 'segm']
        kinds = {(f.kind, f.where) for f in examine(case.cfg, SPLITS, weights=False).findings}
        assert kinds == {('mask-missing', 'val, test')}

    def test_images_to_be_written_only_need_no_annotations(self, make_case):
        case = make_case()
        del case.data['val']['annotations']
        case.write()
        for split in ('val', 'test'):
            case.cfg[f'{split}_evaluator'].format_only = True
        assert not examine(case.cfg, SPLITS, weights=False).findings


class TestNoFalseAlarm:
    @pytest.mark.parametrize('mode', ['L', 'P', 'RGBA', 'LA', '1'])
    def test_images_of_other_kinds(self, make_case, mode):
        case = make_case()
        as_png(case, mode)
        case.write()
        assert not examine(case.cfg, SPLITS, weights=False).findings

    @pytest.mark.parametrize('kind', ['webp', 'bmp', 'tiff', 'gif', 'jp2', 'ppm'])
    def test_other_formats_under_a_jpeg_name(self, make_case, kind):
        case = make_case()
        path = case.path(case.image())
        Image.open(path).save(path.with_suffix(f'.{kind}'))
        path.with_suffix(f'.{kind}').rename(path)
        assert not examine(case.cfg, SPLITS, weights=False).findings

    def test_jpegs_of_other_kinds(self, make_case):
        case = make_case()
        for image, how in zip(
            case.images, ('grey', 'cmyk', 'progressive', 'trailing', 'exif', 'link', 'linked'), strict=False
        ):
            path = case.path(image)
            picture = Image.open(path)
            picture.load()
            if how == 'grey':
                picture.convert('L').save(path)
            elif how == 'cmyk':
                picture.convert('CMYK').save(path)
            elif how == 'progressive':
                picture.save(path, progressive=True)
            elif how == 'trailing':
                path.write_bytes(path.read_bytes() + b'\0' * 100)
            elif how == 'exif':
                set_orientation(path, 1)
            else:
                target = case.root / f'{how}.jpg'
                path.rename(target)
                path.symlink_to(target)
        assert not examine(case.cfg, SPLITS, weights=False).findings

    def test_turned_images_annotated_as_they_are_read(self, make_case):
        case = make_case()
        image = stretched(case)
        stored = Image.open(case.path(image)).transpose(Image.Transpose.ROTATE_90)
        stored.save(case.path(image))
        set_orientation(case.path(image), 6)
        case.write()
        assert not examine(case.cfg, SPLITS, weights=False).findings

    def test_readers_that_do_not_turn(self, make_case):
        case = make_case()
        image = stretched(case)
        set_orientation(case.path(image), 6)
        case.write()
        case.loader().pipeline[0].color_type = 'color_ignore_orientation'
        assert not examine(case.cfg, SPLITS, weights=False).findings

    def test_a_folder_that_is_a_link(self, make_case):
        case = make_case()
        (case.root / 'train').rename(case.root.parent / 'disk')
        (case.root / 'train').symlink_to(case.root.parent / 'disk')
        assert not examine(case.cfg, SPLITS, weights=False).findings

    def test_links_to_a_folder_that_is_trusted(self, make_case):
        case = make_case()
        link_out_of_the_root(case)
        case.cfg.preflight = dict(trusted_folders=[str(case.root.parent)])
        assert not examine(case.cfg, SPLITS, weights=False).findings

    def test_ids_that_are_texts_or_begin_at_zero(self, make_case):
        case = make_case()
        for row in (*case.images, *case.annotations):
            row['id' if 'width' in row else 'image_id'] = f'name {row.get("image_id", row["id"])}'
        for row in case.data['train']['categories']:
            row['id'] -= 1
        for row in case.annotations:
            row['category_id'] -= 1
        case.annotations[0]['id'] = 0
        case.write()
        assert not examine(case.cfg, SPLITS, weights=False).findings

    def test_boxes_a_pixel_over_the_edge_and_uncompressed_masks(self, make_case):
        case = make_case()
        row = case.annotation()
        row['bbox'][2] = SIDE - row['bbox'][0] + 1
        row['segmentation'] = dict(size=[SIDE, SIDE], counts=[0, 100, SIDE * SIDE - 100])
        case.write()
        assert not examine(case.cfg, SPLITS, weights=False).findings

    @pytest.mark.parametrize('name', ['mask_rcnn_fishnet150_fpn', 'faster_rcnn_r50_fpn'])
    @pytest.mark.skipif(not (REAL_DATA / 'coco_mini').is_dir(), reason='no real COCO images here')
    def test_coco(self, name, monkeypatch):
        monkeypatch.setenv('COCO_ROOT', str(REAL_DATA / 'coco_mini'))
        report = examine(Config.fromfile(CONFIGS / f'{name}.py'), SPLITS, weights=False)
        assert not report.findings and len(report.checked) == 2

    @pytest.mark.skipif(not (REAL_DATA / 'nuclei').is_dir(), reason='no real nuclei here')
    def test_nuclei(self):
        cfg = Config.fromfile(CONFIGS / 'mask_rcnn_fishnet_demo.py')
        for split in SPLITS:
            part = 'train' if split == 'train' else 'val'
            cfg[f'{split}_dataloader'].dataset.update(
                data_root=str(REAL_DATA / 'nuclei'),
                metainfo=dict(classes=('nucleus',)),
                ann_file=f'annotations/instances_{part}.json',
                data_prefix=dict(img=f'{part}/'),
            )
            if split != 'train':
                cfg[f'{split}_evaluator'].ann_file = str(REAL_DATA / 'nuclei/annotations/instances_val.json')
        assert not examine(cfg, SPLITS, weights=False).findings


def spoil_some(case):
    """Three defects that can be left out: an image, an annotation of another, and an entry without form."""
    image = case.images[2]
    case.path(image).unlink()
    row = case.annotation(polygon=True, image=case.images[5]['id'])
    row['bbox'][2] = -4.0
    case.images.append({'id': [1]})
    return image, row


class TestSkipBad:
    def test_only_what_is_bad_is_left_out(self, make_case):
        case = make_case()
        image, row = spoil_some(case)
        case.write()
        before = (case.root / 'annotations/instances_train.json').read_bytes()
        report = check(case.cfg, ['train', 'val'], weights=False, skip_bad=True)
        assert not report.findings and 'left out 3 entries' in report.text()
        cleaned = json.loads(Path(case.loader().ann_file).read_text())
        assert cleaned['images'] == [i for i in case.images[:8] if i != image]
        assert cleaned['annotations'] == [
            a for a in case.annotations if a is not row and a['image_id'] != image['id']
        ]
        listed = (Path(case.cfg.work_dir) / 'preflight/dropped.txt').read_text().splitlines()
        assert [line.split('\t')[0] for line in listed] == [
            'entry-malformed',
            'box-negative',
            'image-missing',
        ]
        assert f'annotation {row["id"]} of image {row["image_id"]}' in listed[1]
        assert (case.root / 'annotations/instances_train.json').read_bytes() == before
        assert case.loader('val').ann_file == 'annotations/instances_val.json'

    def test_a_second_run_is_the_same(self, make_case):
        case = make_case()
        spoil_some(case)
        case.write()
        fresh = case.cfg.copy()
        check(case.cfg, ['train', 'val'], weights=False, skip_bad=True)
        check(fresh, ['train', 'val'], weights=False, skip_bad=True)
        assert fresh.train_dataloader == case.cfg.train_dataloader

    def test_clean_data_stay_whole(self, make_case):
        case = make_case()
        check(case.cfg, ['train', 'val'], weights=False, skip_bad=True)
        assert json.loads(Path(case.loader().ann_file).read_text()) == case.data['train']

    def test_validation_is_never_cut(self, make_case):
        case = make_case(split='val')
        case.path(case.image()).unlink()
        with pytest.raises(PreflightError, match='image-missing.* val'):
            check(case.cfg, ['train', 'val'], weights=False, skip_bad=True)
        assert not Path(case.cfg.work_dir).exists()

    def test_what_cannot_be_left_out_still_stops(self, make_case):
        case = make_case()
        spoil_some(case)
        category_id_twice(case)
        case.write()
        with pytest.raises(PreflightError, match='category-twice') as error:
            check(case.cfg, ['train', 'val'], weights=False, skip_bad=True)
        assert 'image-missing' not in str(error.value)

    def test_nothing_left_stops(self, make_case):
        case = make_case()
        for image in case.images:
            case.path(image).unlink()
        with pytest.raises(PreflightError, match='no-images'):
            check(case.cfg, ['train', 'val'], weights=False, skip_bad=True)


class TestCache:
    NAMES = ('000000.jpg', '000001.jpg', '000002.jpg')

    @pytest.fixture(autouse=True)
    def own_cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))

    def test_what_was_seen_is_remembered_until_it_changes(self, make_case, monkeypatch):
        case = make_case()
        folder = case.root / 'train'
        (folder / self.NAMES[2]).write_bytes(b'')
        first = look_at_all(folder, self.NAMES)
        (file,) = cache_folder().iterdir()
        opened = []
        whole = Image.open
        monkeypatch.setattr(
            Image, 'open', lambda path, **kwargs: opened.append(Path(path).name) or whole(path, **kwargs)
        )
        assert look_at_all(folder, self.NAMES) == first and opened == []
        content = (folder / self.NAMES[1]).read_bytes()
        (folder / self.NAMES[1]).write_bytes(content[: len(content) // 2])
        again = look_at_all(folder, self.NAMES)
        assert opened == [self.NAMES[1]]
        assert (again[self.NAMES[1]].problem, again[self.NAMES[2]].problem) == (
            'image-truncated',
            'image-empty',
        )

    @pytest.mark.parametrize(
        'content', [b'', b'{', b'[]', b'{"version": 1, "images": 3}', b'\xff', b'[' * 99_999]
    )
    def test_a_damaged_cache_is_none(self, make_case, content):
        case = make_case()
        first = look_at_all(case.root / 'train', self.NAMES)
        (file,) = cache_folder().iterdir()
        file.write_bytes(content)
        assert look_at_all(case.root / 'train', self.NAMES) == first
        assert json.loads(file.read_text())['images'].keys() == set(self.NAMES)

    def test_a_damaged_entry_is_looked_at_again(self, make_case):
        case = make_case()
        first = look_at_all(case.root / 'train', self.NAMES)
        (file,) = cache_folder().iterdir()
        content = json.loads(file.read_text())
        content['images'][self.NAMES[0]] = [1, 'x']
        content['images'][self.NAMES[1]][2] = None
        file.write_text(json.dumps(content))
        assert look_at_all(case.root / 'train', self.NAMES) == first

    def test_two_writers_keep_each_others_images(self, make_case):
        case = make_case()
        look_at_all(case.root / 'train', self.NAMES[:1])
        late = Cache(case.root / 'train')
        look_at_all(case.root / 'train', self.NAMES[1:2])
        late.entries.clear()
        late.is_new = True
        late.save()
        assert Cache(case.root / 'train').entries.keys() == set(self.NAMES[:2])

    def test_a_folder_that_cannot_be_written_costs_only_time(self, make_case, monkeypatch, tmp_path):
        case = make_case()
        (tmp_path / 'file').write_text('')
        monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
        assert not any(look.problem for look in look_at_all(case.root / 'train', self.NAMES).values())


class TestTools:
    def config(self, case):
        path = case.root.parent / 'config.py'
        case.cfg.dump(path)
        return path

    def test_check_data(self, make_case, run_tool, tmp_path):
        case = make_case()
        case.path(case.images[3]).unlink()
        report = tmp_path / 'report.json'
        done = run_tool('tools/check_data.py', self.config(case), '--json', report)
        assert done.returncode == 1 and 'Traceback' not in done.stderr
        assert '[image-missing] train' in done.stdout and 'image 4:' in done.stdout
        (finding,) = json.loads(report.read_text())['findings']
        assert finding['kind'] == 'image-missing' and finding['image'] == 4
        done = run_tool('tools/check_data.py', self.config(case), '--no-images', '--skip-bad')
        assert done.returncode == 0 and '0 errors, 0 warnings' in done.stdout
        assert (tmp_path / 'work/preflight/train_0.json').is_file()

    def test_two_processes_stop_together(self, make_case):
        case = make_case(split='val')
        case.path(case.image()).unlink()
        done = self.torchrun(case)
        assert done.returncode == 1
        assert done.stderr.count('[image-missing] val') == 1
        assert done.stderr.count('Traceback') == 1  # torchrun's own

    @pytest.mark.long
    def test_two_processes_train_on_the_same_rest(self, make_case):
        case = make_case()
        image, _ = spoil_some(case)
        case.write()
        done = self.torchrun(case, '--skip-bad')
        assert done.returncode == 0, done.stderr
        assert 'left out 3 entries' in done.stdout
        assert (Path(case.cfg.work_dir) / 'epoch_1.pth').is_file()

    def torchrun(self, case, *flags):
        options = [*demo_options(case.root), 'train_cfg.max_epochs=1', 'train_cfg.val_interval=9']
        options += [f'val_dataloader.dataset.data_root={case.root}/']
        return subprocess.run(
            [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2',
             str(REPO / 'tools/train.py'), str(self.config(case)), '--launcher', 'pytorch', *flags,
             '--cfg-options', *options],
            env={**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''},
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip


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


class TestOfCocoSize:
    """100,000 annotations in a minute on two cores is what was asked for."""

    def test_a_hundredth_of_coco_is_clean(self, tmp_path):
        write(tmp_path / 'coco.json', IMAGES // 100, ANNOTATIONS // 100)
        contents = check_annotations(tmp_path / 'coco.json', evaluated=True)
        assert len(contents.category_ids) == ANNOTATIONS // 100 and not contents.findings

    @pytest.mark.long
    def test_all_of_it_is_checked_in_time(self, tmp_path):
        write(tmp_path / 'coco.json')
        cost = measure(tmp_path / 'coco.json')
        assert (cost['images'], cost['annotations'], cost['findings']) == (IMAGES, ANNOTATIONS, 0)
        assert cost['seconds'] < 60 * ANNOTATIONS / 100_000
        assert cost['gib'] < 8
        print(cost)
