"""Semantic and panoptic segmentation, with data of two images in the real formats.

For docs/training.md, which shows the whole commands. tests/configs/test_without_mmdet.py trains and tests a segmentor
through the tools.
"""

import json
import logging
from argparse import Namespace
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from config_cases import PIXEL_LEVEL, build, load
from conftest import CONFIGS
from mmdet.datasets import CocoPanopticDataset
from mmdet.registry import MODELS as DETECTORS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.utils import get_installed_path
from pixel_data import SIDE, small_config, write_ade20k, write_coco_panoptic

from fishnet_mmdet import ARCHS, FishNet, MIoUReport, PanopticQuality, PQReport
from fishnet_mmdet.data.panoptic import segment_ids
from fishnet_mmdet.evaluation.panoptic import count_matches
from fishnet_mmdet.preflight import PreflightError, check
from fishnet_mmdet.training.launch import load_config, train

register_all_modules(init_default_scope=True)
SEMANTIC, UPERNET, PANOPTIC = PIXEL_LEVEL


@pytest.fixture(scope='module')
def ade20k(tmp_path_factory):
    return write_ade20k(tmp_path_factory.mktemp('ade'))


@pytest.fixture(scope='module')
def coco_panoptic(tmp_path_factory):
    meta = CocoPanopticDataset.METAINFO
    return write_coco_panoptic(tmp_path_factory.mktemp('coco'), meta['classes'], meta['thing_classes'])


def read(name, monkeypatch, **roots):
    """A config whose data are at the given roots."""
    for variable, root in roots.items():
        monkeypatch.setenv(variable, str(root))
    return Config.fromfile(CONFIGS / f'{name}.py')


@pytest.mark.parametrize('name', PIXEL_LEVEL)
def test_builds_as_named(name):
    cfg, model = load(name), build(name)
    head = model.semantic_head if name == PANOPTIC else model.decode_head
    assert (type(model).__name__, type(head).__name__) == PIXEL_LEVEL[name]
    assert type(model.backbone) is FishNet and model.backbone.arch == ARCHS['fishnet150']
    assert cfg.model.backbone == load('mask_rcnn_fishnet150_fpn').model.backbone
    # The pyramid of UPerNet is within its head.
    fed = cfg.model.get('neck') or cfg.model.decode_head
    assert tuple(fed.in_channels) == model.backbone.out_channels
    if 'auxiliary_head' in cfg.model:
        assert cfg.model.auxiliary_head.in_channels == model.backbone.out_channels[2]


def test_panoptic_is_mmdets_own_but_for_backbone_and_recipe():
    """Its heads and their settings, against the config that mmdet ships."""
    stock = Config.fromfile(f'{get_installed_path("mmdet")}/.mim/configs/panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py')
    ours, theirs = load(PANOPTIC), stock
    for part in set(theirs.model) - {'backbone', 'neck'}:
        assert ours.model[part] == theirs.model[part], part
    swapped = {'LoadPanopticAnnotations': 'LoadPanopticMaps'}
    for split in ('train', 'val', 'test'):
        steps, known = (cfg[f'{split}_dataloader'].dataset.pipeline for cfg in (ours, theirs))
        plain = [{k: v for k, v in step.items() if k not in ('backend_args', '_scope_')} for step in known]
        assert [dict(step) for step in steps] == [{**s, 'type': swapped.get(s['type'], s['type'])} for s in plain]


def test_upernet_takes_a_step(tmp_path):
    cfg = Config.fromfile(small_config(tmp_path, UPERNET))
    cfg.model.data_preprocessor.size = (SIDE, SIDE)
    with DefaultScope.overwrite_default_scope('mmseg'):
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample

        model = MODELS.build({**cfg.model, 'type': 'mmseg.EncoderDecoder'})
        model.init_weights()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        truth = torch.randint(150, (1, SIDE, SIDE))
        sample = SegDataSample(gt_sem_seg=PixelData(data=truth), metainfo=dict(img_shape=(SIDE, SIDE)))
        batch = dict(inputs=[torch.randint(256, (3, SIDE, SIDE), dtype=torch.uint8)] * 2)
        batch = model.data_preprocessor({**batch, 'data_samples': [sample, sample.clone()]}, training=True)
        losses, _ = model.parse_losses(model(**batch, mode='loss'))
        losses.backward()
        assert torch.isfinite(losses) and all(p.grad is not None for p in model.parameters())
        optimizer.step()
        with torch.no_grad():
            logits = model.eval()(batch['inputs'], mode='tensor')
    assert logits.shape[:2] == (2, 150)


class TestPanoptic:
    @pytest.fixture(scope='class')
    def small(self, coco_panoptic, tmp_path_factory):
        path = small_config(tmp_path_factory.mktemp('config'), PANOPTIC)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv('COCO_ROOT', str(coco_panoptic))
            cfg = load_config(
                Namespace(config=str(path), cfg_options=None, work_dir='x', launcher='none', local_rank=0)
            )
        for split in ('train', 'val', 'test'):
            for step in cfg[f'{split}_dataloader'].dataset.pipeline:
                if step.type == 'Resize':
                    step.scale = (SIDE, SIDE)
        return cfg

    @pytest.fixture
    def config(self, small, tmp_path):
        cfg = deepcopy(small)
        cfg.work_dir = str(tmp_path / 'run')
        return cfg

    def test_trains_and_reports(self, config, tmp_path):
        train(config)
        rows = json.loads((tmp_path / 'run/pq_val.json').read_text())['measured']
        assert [(row['label'], row['type']) for row in rows] == [
            ('epoch 1', 'all'), ('epoch 1', 'things'), ('epoch 1', 'stuff'),
        ]  # fmt: skip
        assert all(0 <= row['PQ'] <= 1 for row in rows)

    def test_forward(self, config):
        model = DETECTORS.build(config.model).eval()
        sample = dict(inputs=[torch.zeros(3, SIDE, SIDE)], data_samples=[_sample()])
        with torch.no_grad():
            (result,) = model.test_step(sample)
        assert result.pred_panoptic_seg.sem_seg.shape == (1, SIDE, SIDE)

    def test_maps_are_read_as_they_were_written(self, config):
        from mmdet.registry import DATASETS

        dataset = DATASETS.build(config.val_dataloader.dataset)
        truth = dataset[0]['data_samples']
        names = [CocoPanopticDataset.METAINFO['classes'][i] for i in truth.gt_sem_seg.sem_seg.unique() if i < 133]
        assert set(names) == {'person', 'tree-merged', 'rug-merged'}
        # The crowd is left out.
        assert truth.gt_instances.masks.masks.sum(axis=(1, 2)).tolist() == [30 * 50]


def _sample():
    from mmdet.structures import DetDataSample

    shape = (SIDE, SIDE)
    return DetDataSample(metainfo=dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0)))


class TestPanopticQuality:
    """Two classes on 4 x 4 pixels: 0 a thing, 1 stuff; a prediction is label + 1000 x instance, 2 is nothing."""

    TRUTH = np.array([[7, 7, 9, 9]] * 4)
    SEGMENTS = {7: (0, False), 9: (1, False)}

    def count(self, rows, segments=None):
        return count_matches(np.array(rows), self.TRUTH, segments or self.SEGMENTS, 2).tolist()

    def test_perfect(self):
        assert self.count([[1000, 1000, 1, 1]] * 4) == [[1, 1, 0, 0], [1, 1, 0, 0]]

    def test_label_0_without_an_instance_is_not_void(self):
        assert self.count([[0, 0, 1, 1]] * 4) == [[1, 1, 0, 0], [1, 1, 0, 0]]

    def test_a_half_is_not_a_match(self):
        assert self.count([[1000, 2, 1, 1]] * 4) == [[0, 0, 1, 1], [1, 1, 0, 0]]

    def test_the_wrong_class(self):
        assert self.count([[1, 1, 1, 1]] * 4) == [[0, 0, 0, 1], [0, 0, 1, 1]]

    def test_void_and_crowds_excuse(self):
        found = [[1000, 1000, 1, 1]] * 4
        assert self.count(found, {7: (0, True), 9: (1, False)}) == [[0, 0, 0, 0], [1, 1, 0, 0]]
        truth = np.where(self.TRUTH == 7, 0, self.TRUTH)
        assert count_matches(np.array(found), truth, {9: (1, False)}, 2).tolist() == [[0, 0, 0, 0], [1, 1, 0, 0]]

    def test_figures(self, tmp_path):
        categories = [dict(id=id, name=name, isthing=int(name == 'a')) for id, name in ((5, 'a'), (6, 'b'), (7, 'c'))]
        (tmp_path / 'x.json').write_text(json.dumps(dict(categories=categories, annotations=[])))
        metric = PanopticQuality(tmp_path / 'x.json', tmp_path)
        metric.dataset_meta = dict(classes=('a', 'b', 'c'))
        # The class c never occurs.
        counts = np.array([[1.5, 2, 1, 1], [0, 0, 0, 3], [0, 0, 0, 0]])
        figures = metric.compute_metrics([counts, np.zeros((3, 4))])
        assert figures['PQ_th'] == pytest.approx(50) and figures['SQ_th'] == pytest.approx(75)
        assert figures['RQ_th'] == pytest.approx(200 / 3) and figures['PQ_st'] == 0
        assert figures['PQ'] == pytest.approx(25)
        rows = PQReport().measured({f'coco_panoptic/{k}': v for k, v in figures.items()}, 'x')
        found = [(row.kind, round(row.figures['PQ'], 3)) for row in rows]
        assert found == [('all', 0.25), ('things', 0.5), ('stuff', 0)]

    def test_as_panopticapi(self):
        """Counts of mmdet's function with COCO's panopticapi on these maps: overlaps, crowds, void, wrong classes."""
        rng, classes, counts = np.random.default_rng(0), 6, []
        for _ in range(60):
            truth, found = np.zeros((40, 40), dtype=int), np.full((40, 40), classes)
            segments = {}
            for instance in range(1, 9):
                (x, y), (w, h) = rng.integers(0, 30, 2), rng.integers(3, 25, 2)
                label, key = int(rng.integers(classes)), int(rng.integers(1, 2**24))
                truth[y : y + h, x : x + w] = key
                segments[key] = label, bool(label < 3 and rng.random() < 0.3)
                left, top = np.maximum((x, y) + rng.integers(-2, 3, 2), 0)
                guess = label if rng.random() < 0.8 else int(rng.integers(classes))
                guess = classes if rng.random() < 0.1 else guess + 1000 * instance * (guess < 3)
                found[top : top + h, left : left + w] = guess
            seen = {key: value for key, value in segments.items() if (truth == key).any()}
            counts.append(count_matches(found, truth, seen, classes))
        iou, hits, false, missed = np.sum(counts, axis=0).T
        assert hits.tolist() == [27, 26, 25, 23, 28, 23]
        assert false.tolist() == [24, 22, 30, 14, 14, 14] and missed.tolist() == [20, 22, 26, 48, 57, 52]
        expected = [19.44659009, 19.29583736, 17.76095345, 15.63721298, 19.3771138, 16.23974067]
        assert iou == pytest.approx(expected, abs=1e-7)

    def test_ids_are_red_first(self):
        assert segment_ids(np.array([[[1, 2, 3]]], dtype=np.uint8)).tolist() == [[1 + 2 * 256 + 3 * 65536]]


class TestPreflight:
    @pytest.mark.parametrize('gone', ['images/training', 'annotations/training'])
    def test_missing_maps_are_named(self, ade20k, tmp_path, monkeypatch, gone):
        for folder in {'images/training', 'annotations/training'} - {gone}:
            (tmp_path / folder).mkdir(parents=True)
            (tmp_path / folder / 'x').write_text('')
        cfg = read(SEMANTIC, monkeypatch, ADE20K_ROOT=tmp_path)
        with pytest.raises(PreflightError, match=f'train data not found: {tmp_path}/{gone}.*') as error:
            check(cfg, ['train'], weights=False)
        assert 'ADE20K_ROOT=' in str(error.value)

    def test_another_number_of_classes(self, ade20k, monkeypatch):
        cfg = read(SEMANTIC, monkeypatch, ADE20K_ROOT=ade20k)
        check(cfg, ['train', 'val'], weights=False)
        # As test-time augmentation does.
        wrapped = cfg.copy()
        wrapped.model = dict(type='SegTTAModel', module=cfg.model)
        check(wrapped, ['test'], weights=False)
        cfg.model.decode_head.num_classes = 19
        with pytest.raises(PreflightError, match='150 classes .*decode head has 19'):
            check(cfg, ['train'], weights=False)

    def test_missing_panoptic_maps(self, coco_panoptic, tmp_path, monkeypatch):
        cfg = read(PANOPTIC, monkeypatch, COCO_ROOT=coco_panoptic)
        check(cfg, ['train', 'val'], weights=False)
        cfg.val_dataloader.dataset.data_prefix.seg = 'annotations/elsewhere/'
        with pytest.raises(PreflightError, match='annotations/elsewhere does not exist'):
            check(cfg, ['val'], weights=False)


def test_reports_pass_over_other_metrics():
    assert MIoUReport().measured({'coco/bbox_mAP': 0.3}, 'x') == PQReport().measured({'mIoU': 3.0}, 'x') == []
    (row,) = MIoUReport().measured({'mIoU': 40.5, 'aAcc': 80.0, 'mAcc': 50.0, 'time': 1.0}, 'iteration 8000')
    table = MIoUReport().table('T', [row], [])
    assert table.cells(table.rows[0]) == ['iteration 8000', '', '40.50', '50.00', '80.00']


def test_a_table_counts_iterations_where_the_loop_does_and_goes_on_with_them(tmp_path):
    def run(first, last):
        runner = SimpleNamespace(
            work_dir=tmp_path, epoch=0, iter=first, experiment_name='x', logger=logging.getLogger('quiet'),
            cfg=SimpleNamespace(model=dict(type='EncoderDecoder')),
        )  # fmt: skip
        report = MIoUReport()
        report.before_train(runner)
        for runner.iter in range(first + 8000, last + 1, 8000):
            report.after_val_epoch(runner, {'mIoU': 40.0})
        return [row['label'] for row in json.loads((tmp_path / 'miou_val.json').read_text())['measured']]

    assert run(0, 24000) == ['iteration 8000', 'iteration 16000', 'iteration 24000']
    assert run(16000, 24000) == ['iteration 8000', 'iteration 16000', 'iteration 24000']
    assert run(0, 8000) == ['iteration 8000']
