"""Ways to spoil annotations: their ids, what they refer to, their boxes and areas."""

from drawn_case import SIDE, corners, defect

from fishnet_mmdet.data.coco_fields import is_id


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


changes('box-over-edge', 'beyond_the_edge', box_beyond)
changes('area-empty', 'no_area', put('area', 0))
changes('area-empty', 'negative_area', put('area', -3.5))


@defect('box-corners', times=2)
def box_of_two_corners(case):
    row = case.annotation()
    row['bbox'] = [20, 30, 40, 55]
    row['segmentation'] = [corners([20, 30, 20, 25])]
    return row['image_id'], row['id']
