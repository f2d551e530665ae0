"""Published rows stand only under figures of the data that they were measured on."""

import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import REAL_DATA, REPO
from mmdet.datasets import CocoDataset, ConcatDataset
from mmengine.config import Config
from mmengine.dataset import BaseDataset

from fishnet_mmdet.evaluation.accuracy_report import AccuracyReport
from fishnet_mmdet.evaluation.ap_report import APReport
from fishnet_mmdet.evaluation.known_data import is_coco_val2017, is_imagenet_val, parts_of
from fishnet_mmdet.evaluation.pixel_reports import MIoUReport, PQReport

IDS = [int(number) for number in (REPO / 'tests' / 'coco_val2017_ids.txt').read_text().split()]
COCO = CocoDataset.METAINFO['classes']


class Images(BaseDataset):
    """Images by their ids, without files."""

    def __init__(self, ids, classes=COCO):
        self.ids = ids
        super().__init__(metainfo=dict(classes=classes), serialize_data=False)

    def load_data_list(self):
        return [dict(img_id=number, instances=[]) for number in self.ids]


class Labels:
    """Labelled images of mmpretrain."""

    def __init__(self, labels):
        self.labels = np.array(labels)

    def __len__(self):
        return len(self.labels)

    def get_gt_labels(self):
        return self.labels


class TestCoco:
    def test_the_5000_images(self):
        assert len(set(IDS)) == 5000
        assert is_coco_val2017(Images(IDS))
        assert is_coco_val2017(Images([str(number) for number in reversed(IDS)]))

    @pytest.mark.parametrize(
        'ids, classes',
        [
            (IDS[1:], COCO),
            ([*IDS[1:], 1], COCO),
            ([*IDS[1:], IDS[1]], COCO),
            (range(5000), COCO),
            ([f'{number}.jpg' for number in IDS], COCO),
            (IDS, COCO[:79]),
            (IDS, COCO[::-1]),
            (IDS, ('person',)),
        ],
        ids=['one fewer', 'another', 'one twice', 'other ids', 'texts', '79 classes', 'another order', 'one class'],
    )
    def test_others(self, ids, classes):
        assert not is_coco_val2017(Images(ids, classes))

    def test_things_that_are_not_data_sets_of_mmdet(self):
        for thing in (None, [], IDS, Labels(IDS)):
            assert not is_coco_val2017(thing)

    def test_real_images_of_it(self):
        """Some of its images are among the ids, and are not all of it."""
        file = REAL_DATA / 'coco_mini' / 'annotations' / 'instances_val2017.json'
        if not file.exists():
            pytest.skip(f'{file} does not exist')
        data = CocoDataset(ann_file=str(file), data_prefix=dict(img=''), test_mode=True)
        assert len(data) == 80 and {data.get_data_info(n)['img_id'] for n in range(80)} <= {*IDS}
        assert not is_coco_val2017(data)


class TestImageNet:
    labels = np.repeat(np.arange(1000), 50)

    def test_50_images_of_each_class(self):
        assert is_imagenet_val(Labels(np.random.default_rng(0).permutation(self.labels)))

    @pytest.mark.parametrize(
        'labels',
        [labels[:-1], np.minimum(labels, 998), np.repeat(np.arange(1000), 10), [*labels[1:], 1], labels - 1],
        ids=['one fewer', '999 classes', '10 of each', '49 and 51', 'another class'],
    )
    def test_others(self, labels):
        assert not is_imagenet_val(Labels(labels))
        assert not is_imagenet_val(Images(IDS))


def test_parts_of_wrapped_data():
    first, second = Images(IDS), Images([1, 2])
    both = ConcatDataset([first, second])
    assert list(parts_of(both)) == [first, second]
    assert list(parts_of(SimpleNamespace(dataset=both))) == [first, second]
    assert list(parts_of(first)) == [first]


class TestReports:
    """What stands below the figures of a test."""

    DETECTOR = dict(type='MaskRCNN', backbone=dict(type='FishNet'))
    CLASSIFIER = dict(type='ImageClassifier', backbone=dict(type='FishNet', arch='fishnet150'))

    def shown(self, report, model, data, key, tmp_path, split='test'):
        runner = SimpleNamespace(
            work_dir=tmp_path, epoch=1, iter=4, experiment_name='x', logger=logging.getLogger('quiet'),
            cfg=Config(dict(model=model)), **{f'{split}_dataloader': SimpleNamespace(dataset=data)},
        )  # fmt: skip
        getattr(report, f'after_{split}_epoch')(runner, {key: 0.5})
        record = json.loads((tmp_path / f'{report.name}_{split}.json').read_text())
        text = (tmp_path / f'{report.name}_{split}.md').read_text()
        assert ('not measured here' in text) == bool(record['published'])
        return record['data'], len(record['published'])

    @pytest.mark.parametrize('split', ['val', 'test'])
    def test_ap(self, tmp_path, split):
        case = ('coco/bbox_mAP', tmp_path, split)
        assert self.shown(APReport(), self.DETECTOR, Images(IDS), *case) == ('COCO val2017', 8)
        assert self.shown(APReport(), self.DETECTOR, Images(IDS[:80]), *case) == (None, 0)
        assert self.shown(APReport(), self.DETECTOR, Images([1], ('cell',)), *case) == (None, 0)
        both = ConcatDataset([Images([1], ('cell',)), Images(IDS)])
        assert self.shown(APReport(), self.DETECTOR, both, *case) == ('COCO val2017', 8)

    def test_accuracy(self, tmp_path):
        case = (self.CLASSIFIER, Labels(TestImageNet.labels), 'accuracy/top1', tmp_path)
        assert self.shown(AccuracyReport(), *case) == ('ImageNet val', 3)
        case = (self.CLASSIFIER, Labels(range(1000)), 'accuracy/top1', tmp_path)
        assert self.shown(AccuracyReport(), *case) == (None, 0)

    def test_the_switch(self, tmp_path):
        case = (self.DETECTOR, Images([1], ('cell',)), 'coco/bbox_mAP', tmp_path)
        assert self.shown(APReport(published=True), *case) == ('COCO val2017', 8)
        case = (self.DETECTOR, Images(IDS), 'coco/bbox_mAP', tmp_path)
        assert self.shown(APReport(published=False), *case) == (None, 0)

    @pytest.mark.parametrize('report, key', [(MIoUReport, 'mIoU'), (PQReport, 'coco_panoptic/PQ')])
    def test_nothing_is_published_of_pixels(self, tmp_path, report, key):
        assert self.shown(report(), self.DETECTOR, Images(IDS), key, tmp_path) == (None, 0)
        assert self.shown(report(published=True), self.DETECTOR, Images(IDS), key, tmp_path) == (None, 0)
