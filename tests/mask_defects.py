"""Ways to spoil the masks of annotations: polygons, run-length encodings, and masks that do not fit their boxes."""

import numpy as np
from annotation_defects import changes, put, reach_the_edge
from drawn_case import SIDE, corners, defect


def corner_beyond(row, rng):
    reach_the_edge(row)
    row['segmentation'][0][2] = SIDE + 4.0


def change_mask(kind, name, change, times=2):
    def spoil(row, rng):
        row['segmentation'] = [change(corners(row['bbox']))]

    changes(kind, name, spoil, times=times)


change_mask('mask-box', 'mask_of_half_the_size', lambda mask: [v / 4 for v in mask])
change_mask('mask-box', 'mask_of_fractions', lambda mask: [v / SIDE for v in mask])
change_mask('mask-empty', 'mask_on_a_line', lambda mask: [*mask[:2], *mask[4:6], *mask[:2]])
change_mask('mask-empty', 'mask_of_a_point', lambda mask: mask[:2] * 4)
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
