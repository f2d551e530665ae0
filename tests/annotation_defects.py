"""Ways to spoil annotation files, and configs that do not fit them."""

import json
import shutil

import numpy as np
from drawn_case import SIDE, corners, defect

from fishnet_mmdet.data.coco_fields import is_id

# Entries of images and categories


@defect('image-id-twice')
def image_id_twice(case):
    first, second = case.rng.choice(len(case.images), 2, replace=False)
    case.data[case.split]['annotations'] = [a for a in case.annotations if a['image_id'] != case.images[second]['id']]
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


@defect('category-left-out')
def class_unknown(case):
    case.data[case.split]['categories'].append(dict(id=9, name='star'))
    case.annotation()['category_id'] = 9
    return None, None


@defect('category-unused')
def category_without_an_annotation(case):
    """As Roboflow writes one, with id 0, over all others."""
    case.data[case.split]['categories'].insert(0, dict(id=0, name='shapes'))
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


@defect('annotation-id-text', 'val')
def annotation_id_of_letters(case):
    row = case.annotation()
    row['id'] = 'a'
    judged_by_mmdet(case)
    return row['image_id'], 'a'


@defect('annotation-id-zero', 'val')
def annotation_id_zero(case):
    row = case.annotation()
    row['id'] = 0
    judged_by_mmdet(case)
    return row['image_id'], 0


@defect('entry-malformed', 'val')
def no_iscrowd(case):
    row = case.annotation()
    del row['iscrowd']
    judged_by_mmdet(case)
    return None, row['id']


def judged_by_mmdet(case):
    """By the stock metric, which gives pycocotools the file as it is; ours numbers and completes it first."""
    for split in ('val', 'test'):
        case.cfg[f'{split}_evaluator'].type = 'CocoMetric'


@defect('object-twice', times=2)
def object_listed_twice(case):
    row = {**case.annotation(), 'id': 4711}
    case.annotations.append(row)
    return row['image_id'], 4711


@defect('image-twice')
def file_under_two_ids(case):
    image = {**case.image(), 'id': 990}
    case.images.append(image)
    if case.split == 'train':
        case.loader().filter_cfg = dict()
    return 990, None


@defect('class-without-objects')
def class_of_crowds(case):
    for row in case.annotations:
        row['iscrowd'] = int(row['iscrowd'] or row['category_id'] == 2)
    return None, None


@defect('class-without-objects', 'train')
def class_without_annotation(case):
    case.data['train']['annotations'] = [row for row in case.annotations if row['category_id'] != 2]
    case.loader().filter_cfg = dict()
    return None, None


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
for key, value in (('area', '12'), ('area', None), ('image_id', None), ('image_id', 1.5), ('category_id', '1'),
                   ('category_id', [1]), ('id', [1]), ('id', True), ('id', 10**30), ('iscrowd', 'yes'),
                   ('iscrowd', 3)):  # fmt: skip
    changes('entry-malformed', f'{key}_is_{value}', put(key, value), splits=('train',), about_image=False)
changes('not-finite', 'area_nan', put('area', float('nan')))
changes('box-negative', 'width_negative', put_in_box(2, -5.0))
changes('box-negative', 'height_negative', put_in_box(3, -0.5))
changes('box-tiny', 'no_width', put_in_box(2, 0))
changes('box-tiny', 'half_a_pixel', put_in_box(3, 0.5))
changes('box-outside', 'right_of_image', lambda row, rng: row['bbox'].__setitem__(0, rng.uniform(SIDE, 2 * SIDE)))
changes(
    'box-outside',
    'above_image',
    lambda row, rng: row['bbox'].__setitem__(1, -row['bbox'][3] - rng.uniform(0, 9)),
)


def reach_the_edge(row):
    """Makes a box, and its polygon, reach the right edge."""
    row['bbox'][2] = SIDE - row['bbox'][0]
    row['segmentation'] = [corners(row['bbox'])]


def box_beyond(row, rng):
    reach_the_edge(row)
    row['bbox'][2] += 3


def corner_beyond(row, rng):
    reach_the_edge(row)
    row['segmentation'][0][2] = SIDE + 4.0


changes('box-over-edge', 'beyond_the_edge', box_beyond)


def change_mask(kind, name, change, times=2):
    def spoil(row, rng):
        row['segmentation'] = [change(corners(row['bbox']))]

    changes(kind, name, spoil, times=times)


change_mask('mask-box', 'mask_of_half_the_size', lambda mask: [v / 4 for v in mask])
change_mask('mask-box', 'mask_of_fractions', lambda mask: [v / SIDE for v in mask])
change_mask('mask-empty', 'mask_on_a_line', lambda mask: [*mask[:2], *mask[4:6], *mask[:2]])
change_mask('mask-empty', 'mask_of_a_point', lambda mask: mask[:2] * 4)
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
changes('polygon-over-edge', 'corner_beyond', corner_beyond)
changes('polygon-outside', 'corner_far_away', lambda row, rng: row['segmentation'][0].__setitem__(2, 3e8))
changes('polygon-endless', 'zigzag', lambda row, rng: row['segmentation'].append([0, 0, SIDE, SIDE] * 100_000))
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


@defect('rle-ignored', 'train')
def rle_where_polygons_are_read(case):
    for row in case.annotations:
        if not row['iscrowd']:
            row['segmentation'] = [corners(row['bbox'])]
    for step in case.loader().pipeline:
        if step.type == 'LoadAnnotations':
            step.poly2mask = False
    row = case.rle()
    return row['image_id'], row['id']


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


@defect('box-corners', times=2)
def box_of_two_corners(case):
    row = case.annotation()
    row['bbox'] = [20, 30, 40, 55]
    row['segmentation'] = [corners([20, 30, 20, 25])]
    return row['image_id'], row['id']


@defect('mask-box')
def rle_row_by_row(case):
    """Of an object that is so large that the stripes overlap it by half."""
    row = case.annotation()
    row['bbox'] = [20, 10, 70, 80]
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[10:90, 20:90] = 1
    ends = np.flatnonzero(np.diff(mask.ravel(), prepend=0, append=0))
    row['segmentation'] = dict(size=[SIDE, SIDE], counts=np.diff(ends, prepend=0, append=SIDE * SIDE).tolist())
    return row['image_id'], row['id']


@defect('mask-box')
def polygon_with_y_before_x(case):
    row = case.annotation()
    row['bbox'] = [20, 30, 50, 60]
    row['segmentation'] = [[30, 20, 30, 70, 90, 70, 90, 20]]
    return row['image_id'], row['id']


@defect('mask-box-loose')
def box_twice_as_wide(case):
    row = case.annotation()
    row['bbox'] = [10, 10, 75, 20]
    row['segmentation'] = [corners([10, 10, 30, 20])]
    return row['image_id'], row['id']
