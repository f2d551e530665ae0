"""Damaged annotation and results files: each is read or refused with a message, and none causes a crash.

What passes goes on into pycocotools, whose C code does not check its input: a mask that should have been refused ends
this process.
"""

import json
import math
import re
from copy import deepcopy

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from fishnet_mmdet.data.coco_masks import rle_runs
from fishnet_mmdet.data.json_files import FormatError
from fishnet_mmdet.evaluation.coco_eval import evaluate, load_annotations, load_results
from fishnet_mmdet.evaluation.results_files import IOU_TYPES, ResultsError
from fishnet_mmdet.preflight import KINDS, Report
from fishnet_mmdet.preflight.annotations import read_annotations
from fishnet_mmdet.preflight.contents import Use

SIDE = 24
FEW, MANY = 300, 10_000


def disc(radius=6, centre=12):
    y, x = np.ogrid[:SIDE, :SIDE]
    return np.asfortranarray((x - centre) ** 2 + (y - centre) ** 2 < radius**2, dtype=np.uint8)


def rle(mask):
    packed = coco_mask.encode(mask)
    return {'size': list(map(int, packed['size'])), 'counts': packed['counts'].decode()}


def sound_annotations():
    masks = (
        [[3, 3, 15, 3, 15, 15, 3, 15]],
        rle(disc()),
        dict(size=[SIDE, SIDE], counts=[40, 9, SIDE * SIDE - 49]),
    )
    return {
        'images': [dict(id=i, file_name=f'{i}.jpg', width=SIDE, height=SIDE) for i in (1, 2)],
        'categories': [dict(id=1, name='disc'), dict(id=2, name='box')],
        'annotations': [
            dict(id=i + 1, image_id=1 + i % 2, category_id=1 + i % 2, bbox=[3, 3, 12, 12], area=90.5,
                 iscrowd=int(i == 2), segmentation=mask)
            for i, mask in enumerate(masks)
        ],
    }  # fmt: skip


def sound_results():
    return [
        dict(
            image_id=1 + i % 2,
            category_id=1 + i % 2,
            bbox=[3, 3, 12.5, 12],
            score=1 / (i + 1),
            segmentation=rle(disc(r)),
        )
        for i, r in enumerate((5, 6, 7))
    ]


odd_numbers = st.one_of(
    st.integers(-5, 30),
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, 2**31, 2**63, -(10**400), 10**400, math.nan, math.inf, 1e308, 1e-320, 0.5]),
)
near_numbers = st.integers(1, SIDE) | st.floats(1, SIDE)
scalars = st.one_of(st.none(), st.booleans(), odd_numbers, st.text(max_size=12))
rle_like = st.fixed_dictionaries(
    {},
    optional={
        'size': st.one_of(st.just([SIDE, SIDE]), st.lists(odd_numbers, max_size=3), scalars),
        'counts': st.one_of(
            st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=30),
            st.lists(odd_numbers, max_size=6),
            st.lists(st.integers(0, 300), max_size=5),
            scalars,
        ),
    },
)
polygon_like = st.lists(st.lists(odd_numbers, max_size=9), max_size=3)
values = st.one_of(
    scalars,
    rle_like,
    polygon_like,
    st.lists(odd_numbers, min_size=4, max_size=4),
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=8,
    ),
)


def places(node):
    """Every place in a document: what holds it, and its key there."""
    for key in sorted(node) if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], dict | list):
            yield from places(node[key])


@st.composite
def spoilt(draw, sound):
    """A sound document in which a few values, anywhere, are others, gone, there twice, or cut."""
    document = [sound()]
    for _ in range(draw(st.integers(0, 2))):
        node, key = draw(st.sampled_from(list(places(document))))
        was = node[key]
        action = draw(st.sampled_from(['put', 'put', 'put', 'put', 'delete', 'twice', 'cut']))
        if action == 'delete' and node is not document:
            del node[key]
        elif action == 'twice' and isinstance(node, list):
            node.insert(draw(st.integers(0, len(node))), deepcopy(was))
        elif action == 'cut' and isinstance(was, str):
            node[key] = was[: draw(st.integers(0, len(was)))] + draw(st.text(max_size=3))
        else:
            node[key] = draw(near_numbers if type(was) in (int, float) and draw(st.booleans()) else values)
    return document[0]


def files(sound):
    """Contents of files: mostly spoilt documents, some cut or changed in a byte, some that are no JSON at all."""

    @st.composite
    def content(draw):
        if draw(st.integers(0, 9)) == 0:
            return draw(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode('utf-8', 'replace')))
        raw = json.dumps(draw(spoilt(sound))).encode()
        how = draw(st.integers(0, 9))
        if how == 0:
            return raw[: draw(st.integers(0, len(raw)))]
        if how == 1 and raw:
            place = draw(st.integers(0, len(raw) - 1))
            return raw[:place] + draw(st.binary(min_size=1, max_size=2)) + raw[place + 1 :]
        return raw

    return content()


def fuzz(strategy, check, examples):
    """Runs `check` on so many inputs; returns how many were read and how many refused."""
    tally = {True: 0, False: 0}

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=examples == FEW,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def run(content):
        tally[check(content)] += 1

    run()
    assert sum(tally.values()) >= examples
    return tally


def examples():
    return pytest.mark.parametrize('count', [FEW, pytest.param(MANY, marks=pytest.mark.long)])


@examples()
def test_the_annotation_check_never_crashes(tmp_path, count):
    path = tmp_path / 'annotations.json'

    def check(content):
        path.write_bytes(content)
        contents = read_annotations(path, 'train', Use(evaluated=True, stock_metric=True))
        report = Report(contents.findings)
        report.text().encode()
        json.dumps(report.as_json()).encode()
        if not contents.is_read:
            assert report.errors
        return not any(KINDS[f.kind].stops for f in contents.findings)

    tally = fuzz(files(sound_annotations), check, count)
    print(f'{tally[True]} files sound, {tally[False]} with errors')
    assert min(tally.values()) > count / 100


def judged(truth, rows, iou_type):
    try:
        figures, _ = evaluate(truth, deepcopy(rows), iou_type)
    except ResultsError as error:
        assert re.match(r'(result|annotation)', str(error))
        return False
    assert not any(value < 0 or value > 1 for value in figures.values())
    return True


@examples()
def test_annotations_are_evaluated_or_refused(tmp_path, count):
    path = tmp_path / 'annotations.json'
    rows = sound_results()

    def check(content):
        path.write_bytes(content)
        try:
            truth = load_annotations(path)
        except ResultsError as error:
            assert str(path) in str(error)
            return False
        return any([judged(truth, rows, iou_type) for iou_type in IOU_TYPES])

    tally = fuzz(files(sound_annotations), check, count)
    print(f'{tally[True]} files evaluated, {tally[False]} refused')
    assert min(tally.values()) > count / 100


@examples()
def test_results_are_evaluated_or_refused(tmp_path, count):
    path = tmp_path / 'results.json'
    (tmp_path / 'annotations.json').write_text(json.dumps(sound_annotations()))

    def check(content):
        path.write_bytes(content)
        try:
            rows = load_results(path)
        except ResultsError as error:
            assert str(path) in str(error)
            return False
        truth = load_annotations(tmp_path / 'annotations.json')
        return any([judged(truth, rows, iou_type) for iou_type in IOU_TYPES])

    tally = fuzz(files(sound_results), check, count)
    print(f'{tally[True]} files evaluated, {tally[False]} refused')
    assert min(tally.values()) > count / 100


@examples()
def test_masks_that_pass_are_what_pycocotools_makes_of_them(count):
    """And those it made are taken apart rightly."""
    packed = st.lists(st.integers(0, SIDE * SIDE), max_size=12).map(masks_of_runs)

    def check(mask):
        try:
            runs, size = rle_runs(mask)
        except FormatError:
            return False
        ones = np.repeat(np.arange(len(runs)) % 2, runs).reshape(size, order='F')
        assert np.array_equal(ones, coco_mask.decode(mask))
        return True

    assert fuzz(packed, check, count)[True] >= count
    spoilt_text = st.tuples(packed, st.integers(0, 40), st.text('0123456789:;<=>?@ABOPQRabopq', max_size=3)).map(
        lambda drawn: {**drawn[0], 'counts': drawn[0]['counts'][: drawn[1]] + drawn[2]}
    )
    fuzz(spoilt_text, check, count)


def test_runs_whose_sum_overflows_are_none():
    """64 bits of their sum are right: pycocotools would look for the rest for ever."""
    longest = 2**34 - 1
    up = [longest * step for step in range(2049)]
    runs = [run for run in up for _ in (0, 1)]
    wanted = 2**64 + SIDE * SIDE
    runs += [runs[-1]] * ((wanted - 2 * sum(runs)) // runs[-1] // 2 * 2)
    runs += [run for run in reversed(up) for _ in (0, 1)]
    rest = wanted - sum(runs)
    while rest:
        runs += [min(rest, longest), 0]
        rest -= runs[-2]
    steps = [run - (runs[place - 2] if place > 2 else 0) for place, run in enumerate(runs)]
    assert sum(runs) == wanted and np.array(runs).sum() == SIDE * SIDE
    with pytest.raises(FormatError, match='do not add up'):
        rle_runs({'size': [SIDE, SIDE], 'counts': ''.join(map(digits, steps))})


def digits(value):
    """A number as compressed RLE has it: five bits a letter, the low ones first."""
    text = ''
    while True:
        low, value = value & 31, value >> 5
        if value == (-1 if low & 16 else 0):
            return text + chr(48 + low)
        text += chr(48 + low + 32)


def masks_of_runs(ends):
    mask = np.zeros(SIDE * SIDE, np.uint8)
    for end in ends:
        mask[:end] ^= 1
    return rle(mask.reshape(SIDE, SIDE, order='F'))
