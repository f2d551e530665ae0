"""YOLO and Pascal VOC data as COCO files, for a config by `new`."""

import json
import sys

import pytest
from new_case import build, make
from own_data import write_voc, write_yolo

from fishnet_mmdet import UserError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test runs in an empty folder, as a user would."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def supervision():
    pytest.importorskip('supervision', reason='YOLO and Pascal VOC are read by supervision, which is not installed')


@pytest.mark.parametrize('write', [write_yolo, write_voc])
def test_without_supervision_the_command_is_named(here, write, monkeypatch):
    write(here / 'data')
    monkeypatch.setitem(sys.modules, 'supervision', None)
    with pytest.raises(UserError, match='needs supervision: pip install supervision'):
        make()


@pytest.mark.usefixtures('supervision')
class TestYolo:
    def test_yolo(self, here):
        write_yolo(here / 'data')
        cfg, _ = make()
        _, train, val = build(cfg)
        assert (len(train), len(val)) == (3, 2) and train.metainfo['classes'] == ('disc', 'box')
        box = train.get_data_info(0)['instances'][0]['bbox']
        assert box == pytest.approx([14.4, 9.6, 43.2, 35.2], abs=0.1)

    def test_yolo_with_masks(self, here):
        write_yolo(here / 'data', '0 0.1 0.1 0.5 0.1 0.3 0.6\n')
        cfg, _ = make()
        assert build(cfg)[0].with_mask

    def test_broken_labels(self, here):
        write_yolo(here / 'data', '0 a b c d\n')
        with pytest.raises(UserError, match='data/labels/train cannot be read'):
            make()

    def test_yolo_whose_training_is_a_list(self, here):
        """It must not train on the images of the validation."""
        write_yolo(here / 'data')
        (here / 'data/data.yaml').write_text(
            'train: [images/train, images/more]\nval: images/val\nnames: [disc, box]\n'
        )
        with pytest.raises(UserError, match=r"train is \['images/train', 'images/more'\], not one folder"):
            make()

    @pytest.mark.parametrize(
        'role, value', [('val', '[images/val, images/more]'), ('val', 'val.txt'), ('val', '../valid/images')]
    )
    def test_a_validation_that_cannot_be_used(self, here, role, value):
        """It must not be left out without a word."""
        write_yolo(here / 'data')
        (here / 'data/data.yaml').write_text(f'train: images/train\n{role}: {value}\nnames: [disc, box]\n')
        with pytest.raises(UserError, match=f'{role} is .*, not one folder .*: correct it, or remove the line'):
            make()

    def test_lists_of_one_folder(self, here):
        write_yolo(here / 'data')
        (here / 'data/data.yaml').write_text('train: [images/train]\nval: [images/val]\ntest: x\nnames: [disc, box]\n')
        assert [len(part) for part in build(make()[0])[1:]] == [3, 2]

    def test_yolo_written_on_windows(self, here):
        write_yolo(here / 'data')
        (here / 'data/data.yaml').write_text('train: images\\train\nval: ..\\images\\val\nnames: [disc, box]\n')
        assert [len(part) for part in build(make()[0])[1:]] == [3, 2]


@pytest.mark.usefixtures('supervision')
class TestVoc:
    def test_voc_in_two_folders_of_one_split(self, here):
        for name in ('2007', '2012'):
            write_voc(here / 'data/train' / name)
        with pytest.raises(
            UserError, match='both seem to be for train: put the annotations of a split into one folder'
        ):
            make()

    def test_voc_is_divided(self, here):
        write_voc(here / 'data')
        cfg, chosen = make()
        _, train, val = build(cfg)
        assert (len(train), len(val)) == (4, 1) and set(train.metainfo['classes']) == {'disc', 'box'}
        assert chosen['annotations'].reason == 'converted from Pascal VOC'

    def test_difficult_objects_of_voc_do_not_count(self, here):
        write_voc(here / 'data', difficult=(1, 4))
        _, chosen = make()
        content = json.loads((here / 'my_annotations/all.json').read_text())
        assert {entry['image_id'] - 1 for entry in content['annotations'] if entry['iscrowd']} == {1, 4}
        assert '2 objects are marked difficult: they count neither in the loss' in chosen['annotations'].reason

    def test_splits_have_one_list_of_classes(self, here):
        """supervision numbers classes as they appear: in the validation another one is first, or one is missing."""
        write_voc(here / 'data/train', classes=('disc', 'box'))
        write_voc(here / 'data/valid', classes=('star', 'box', 'box'))
        cfg, _ = make()
        _, train, val = build(cfg)
        assert train.metainfo['classes'] == val.metainfo['classes'] == ('disc', 'box', 'star')
        labels = [[data[i]['data_samples'].gt_instances.labels.tolist() for i in range(5)] for data in (train, val)]
        assert labels == [[[0], [1], [0], [1], [0]], [[2], [1], [1], [2], [1]]]

    def test_letters_of_the_ending_do_not_matter(self, here):
        write_voc(here / 'data', ending='.JPG')
        assert [len(part) for part in build(make()[0])[1:]] == [4, 1]

    def test_files_without_an_image_are_named(self, here):
        (here / 'data').mkdir()
        (here / 'data/1.xml').write_text('<annotation/>')
        with pytest.raises(UserError, match=r'no image \(.jpg, .*\) has the name of an .xml file, .* of data/1.xml'):
            make()
