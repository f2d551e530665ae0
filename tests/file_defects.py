"""Ways to spoil annotation files as a whole, their images and categories, and configs that do not fit them."""

import json
import shutil

from drawn_case import SIDE, defect


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


@defect('image-twice')
def file_under_two_ids(case):
    image = {**case.image(), 'id': 990}
    case.images.append(image)
    if case.split == 'train':
        case.loader().filter_cfg = dict()
    return 990, None


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
