"""The drawn data set: repeatable, in COCO's format, with everything a detector meets."""

import json
import tempfile

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from fishnet_mmdet.lab.demo_data.demo import OBJECT_CLASSES, DemoDataError, DemoSpec, draw_image, make_demo_data
from fishnet_mmdet.lab.demo_data.drawing import CLASSES


@pytest.fixture(scope='module')
def pictures():
    """Annotations of 150 images as the demo draws them."""
    return [draw_image(np.random.default_rng((0, 0, i)), DemoSpec.side)[1] for i in range(150)]


TOOL = 'tools/make_demo_data.py'


@pytest.mark.parametrize(
    'flag, value',
    [('--train', -1), ('--val', 0), ('--side', 5), ('--seed', -1), ('--out', 'file'), ('--out', 'file/x')],
)
def test_what_cannot_be_drawn_is_reported(call_tool, tmp_path, flag, value):
    (tmp_path / 'file').write_text('mine')
    done = call_tool(TOOL, '--out', 'new', flag, value, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith('error: ') and str(value) in done.stderr
    assert done.stderr.count('\n') == 1
    assert (tmp_path / 'file').read_text() == 'mine' and not (tmp_path / 'new').exists()


def test_the_tool_draws_classes_once(call_tool, tmp_path):
    flags = ['--classes', '--train', 9, '--val', 9, '--side', 32, '--seed', 1, '--out', tmp_path / 'new']
    assert call_tool(TOOL, *flags).stdout.endswith('drawn\n')
    assert sorted(path.name for path in (tmp_path / 'new' / 'val').iterdir()) == sorted(OBJECT_CLASSES)
    assert len(list((tmp_path / 'new').glob('train/*/*.jpg'))) == 9
    assert call_tool(TOOL, *flags).stdout.endswith('already there\n')


def test_holds_every_size_class_and_kind(pictures):
    objects = [o for picture in pictures for o in picture]
    areas = np.array([o['area'] for o in objects if not o['iscrowd']])
    for share in (
        (areas < 32**2).mean(),
        ((areas >= 32**2) & (areas <= 96**2)).mean(),
        (areas > 96**2).mean(),
    ):
        assert share > 0.04
    assert {o['category_id'] for o in objects} == set(range(1, len(CLASSES) + 1))
    assert any(o['iscrowd'] for o in objects)
    single = [o for o in objects if not o['iscrowd']]
    assert any(isinstance(o['segmentation'], dict) for o in single)  # RLE
    assert any(isinstance(o['segmentation'], list) for o in single)  # polygons
    assert all(isinstance(o['segmentation'], dict) for o in objects if o['iscrowd'])


def test_objects_cover_each_other(pictures):
    def overlap(a, b):
        (ax, ay, aw, ah), (bx, by, bw, bh) = a['bbox'], b['bbox']
        return min(ax + aw, bx + bw) > max(ax, bx) and min(ay + ah, by + bh) > max(ay, by)

    assert sum(overlap(a, b) for p in pictures for i, a in enumerate(p) for b in p[i + 1 :]) > 50


def test_files_are_coco(demo_data):
    for split, count in (('train', 8), ('val', 4)):
        coco = COCO(str(demo_data / 'annotations' / f'instances_{split}.json'))
        assert len(coco.imgs) == count and len(set(coco.anns)) == len(coco.dataset['annotations'])
        for image in coco.imgs.values():
            picture = cv2.imread(str(demo_data / split / image['file_name']))
            assert picture.shape == (image['height'], image['width'], 3)
        for annotation in coco.anns.values():
            mask = coco.annToMask(annotation)
            ys, xs = np.nonzero(mask)
            x, y, w, h = annotation['bbox']
            assert abs(int(mask.sum()) - annotation['area']) <= 0.03 * annotation['area'] + 3
            assert x - 1 <= xs.min() and xs.max() <= x + w and y - 1 <= ys.min() and ys.max() <= y + h


def test_splits_and_seeds_differ_and_repeat(tmp_path):
    spec = DemoSpec(train=2, val=2, side=64)
    for name, seed in (('a', 0), ('b', 0), ('c', 1)):
        make_demo_data(tmp_path / name, DemoSpec(train=2, val=2, side=64, seed=seed))

    def files(name):
        return {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob('*.*')}

    assert files('a') == files('b') != files('c')
    assert (tmp_path / 'a/train/000000.jpg').read_bytes() != (tmp_path / 'a/val/000000.jpg').read_bytes()
    assert make_demo_data(tmp_path / 'a', spec) is False


def test_other_data_is_never_overwritten(tmp_path):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'photo.jpg').write_text('x')
    with pytest.raises(DemoDataError, match='mine'):
        make_demo_data(tmp_path / 'mine')
    assert [p.name for p in (tmp_path / 'mine').iterdir()] == ['photo.jpg']


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(tempfile, 'TemporaryDirectory', refuse)
    with pytest.raises(DemoDataError, match='cannot be written: .*give another folder'):
        make_demo_data(tmp_path / 'demo')


def test_another_spec_is_drawn_again(tmp_path):
    make_demo_data(tmp_path / 'd', DemoSpec(train=3, val=1, side=64))
    assert make_demo_data(tmp_path / 'd', DemoSpec(train=1, val=1, side=64)) is True
    content = json.loads((tmp_path / 'd/annotations/instances_train.json').read_text())
    assert len(content['images']) == len(list((tmp_path / 'd/train').iterdir())) == 1
