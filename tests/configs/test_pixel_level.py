"""Semantic and panoptic segmentation: tiny data in the real formats through the whole of training and testing."""

import dataclasses
import json
import logging
from argparse import Namespace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from conftest import CONFIGS
from mmdet.datasets import CocoPanopticDataset
from mmdet.registry import MODELS as DETECTORS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.utils import get_installed_path
from seeded import NARROW
from test_configs import PIXEL_LEVEL

from fishnet_mmdet import ARCHS, FishNet, MIoUReport, PanopticQuality, PQReport
from fishnet_mmdet.data.panoptic import segment_ids
from fishnet_mmdet.evaluation.panoptic import count_matches
from fishnet_mmdet.preflight import PreflightError, check
from fishnet_mmdet.training.launch import load_config, train

register_all_modules(init_default_scope=True)
SEMANTIC, UPERNET, PANOPTIC = PIXEL_LEVEL
SIDE = 96
WIDTH = 32

LAYOUT = {field.name: getattr(NARROW, field.name) for field in dataclasses.fields(NARROW)}
SMALL = f"""\
norm_cfg = dict(type='BN', requires_grad=True)  # SyncBN knows no CPU
backbone = dict(
    arch=dict(_delete_=True, **{LAYOUT}), frozen_stages=-1, norm_cfg=norm_cfg, norm_eval=False, init_cfg=None)
levels = {list(NARROW.out_channels)}
loader = dict(num_workers=0, persistent_workers=False)
val_dataloader = test_dataloader = loader
"""

SMALL_SEMANTIC = f"""
model = dict(
    backbone=backbone, neck=dict(in_channels=levels, out_channels={WIDTH}, norm_cfg=norm_cfg),
    decode_head=dict(in_channels=[{WIDTH}] * 4, channels={WIDTH}, norm_cfg=norm_cfg))
train_dataloader = dict(loader, batch_size=2)
train_cfg = dict(max_iters=1, val_interval=1)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1))
"""

SMALL_UPERNET = f"""
model = dict(
    backbone=backbone, decode_head=dict(in_channels=levels, channels={WIDTH}, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=levels[2], channels={WIDTH}, norm_cfg=norm_cfg))
"""

SMALL_PANOPTIC = f"""
model = dict(
    backbone=backbone, neck=dict(in_channels=levels, out_channels={WIDTH}, norm_cfg=norm_cfg),
    rpn_head=dict(in_channels={WIDTH}, feat_channels={WIDTH}),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels={WIDTH}),
        bbox_head=dict(in_channels={WIDTH}, fc_out_channels={WIDTH}),
        mask_roi_extractor=dict(out_channels={WIDTH}),
        mask_head=dict(in_channels={WIDTH}, conv_out_channels={WIDTH})),
    semantic_head=dict(in_channels={WIDTH}, inner_channels={WIDTH}))
train_dataloader = dict(loader, batch_size=2)
train_cfg = dict(max_epochs=1)
default_hooks = dict(logger=dict(interval=1))
"""


def load(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


def small_config(folder, name, text):
    """A config of one's own, as a user would write it: ours, narrow and for the CPU."""
    path = folder / f'small_{name}.py'
    path.write_text(f'_base_ = {str(CONFIGS / (name + ".py"))!r}\n{SMALL}{text}')
    return path


def draw(path, labels):
    """A photo in which each label has a colour of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
    cv2.imwrite(str(path), colours[labels])


@pytest.fixture(scope='module')
def ade20k(tmp_path_factory):
    """Two images a split, with label maps: 0 nothing, 1 wall, 3 sky, 150 flag."""
    root = tmp_path_factory.mktemp('ade')
    for split in ('training', 'validation'):
        for number in range(2):
            labels = np.ones((SIDE, SIDE), dtype=np.uint8)
            labels[: 20 + 10 * number] = 3
            labels[40:80, 30:70] = 150
            labels[-4:] = 0
            draw(root / f'images/{split}/ADE_{number}.jpg', labels)
            (root / f'annotations/{split}').mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / f'annotations/{split}/ADE_{number}.png'), labels)
    return root


@pytest.fixture(scope='module')
def coco_panoptic(tmp_path_factory):
    """Two images a split, each a person (a thing) and a crowd of them before a tree and a rug (stuff)."""
    root = tmp_path_factory.mktemp('coco')
    classes, things = (CocoPanopticDataset.METAINFO[k] for k in ('classes', 'thing_classes'))
    categories = [dict(id=i, name=n, isthing=int(n in things)) for i, n in enumerate(classes, start=1)]
    ids = {category['name']: category['id'] for category in categories}
    for split in ('train2017', 'val2017'):
        images, annotations = [], []
        for number in range(2):
            segments = np.zeros((SIDE, SIDE), dtype=np.int32)
            rows = [('tree-merged', (0, 0, 96, 48), 0), ('rug-merged', (0, 48, 96, 40), 0)]
            rows += [('person', (20, 20, 30, 50), 0), ('person', (60, 30, 30, 30), 1)]
            infos = []
            for index, (name, (x, y, w, h), crowd) in enumerate(rows):
                key = 70_000 * (index + 1)  # beyond two bytes, as in COCO
                segments[y : y + h, x : x + w] = key
                infos.append(dict(id=key, category_id=ids[name], bbox=[x, y, w, h], area=w * h, iscrowd=crowd))
            stem = f'{number:012}'
            draw(root / f'{split}/{stem}.jpg', segments // 70_000)
            maps = root / f'annotations/panoptic_{split}'
            maps.mkdir(parents=True, exist_ok=True)
            blue_first = np.stack([segments >> 16, segments >> 8 & 255, segments & 255], axis=-1)
            cv2.imwrite(str(maps / f'{stem}.png'), blue_first.astype(np.uint8))
            images.append(dict(id=number, file_name=f'{stem}.jpg', height=SIDE, width=SIDE))
            annotations.append(dict(image_id=number, file_name=f'{stem}.png', segments_info=infos))
        content = dict(images=images, annotations=annotations, categories=categories)
        (root / f'annotations/panoptic_{split}.json').write_text(json.dumps(content))
    return root


@pytest.mark.parametrize('name', PIXEL_LEVEL)
def test_builds_as_named(name):
    cfg = load(name)
    with torch.device('meta'), DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build({**cfg.model, 'type': f'{cfg.default_scope}.{cfg.model.type}'})
    head = model.semantic_head if name == PANOPTIC else model.decode_head
    assert (type(model).__name__, type(head).__name__) == PIXEL_LEVEL[name]
    assert type(model.backbone) is FishNet and model.backbone.arch == ARCHS['fishnet150']
    assert cfg.model.backbone == load('mask_rcnn_fishnet150_fpn').model.backbone
    fed = cfg.model.get('neck') or cfg.model.decode_head  # UPerNet's head has its pyramid within
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


def test_semantic_fpn_through_the_tools(ade20k, tmp_path, run_tool):
    config = small_config(tmp_path, SEMANTIC, SMALL_SEMANTIC)
    env = {'ADE20K_ROOT': str(ade20k)}
    done = run_tool('tools/train.py', config, '--work-dir', tmp_path / 'run', env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    trained = json.loads((tmp_path / 'run/miou_val.json').read_text())['measured']
    assert [row['label'] for row in trained] == ['iteration 1'] and 0 <= trained[0]['mIoU'] <= 1
    checkpoint = tmp_path / 'run/iter_1.pth'
    assert torch.load(checkpoint, weights_only=True)['meta']['iter'] == 1

    flags = ['--work-dir', tmp_path / 'test', '--show-dir', 'pictures', '--out', tmp_path / 'maps.pkl']
    done = run_tool('tools/test.py', config, checkpoint, *flags, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    (tested,) = json.loads((tmp_path / 'test/miou_test.json').read_text())['measured']
    assert tested['mIoU'] == trained[0]['mIoU'] and tested['aAcc'] == trained[0]['aAcc']
    assert len(list((tmp_path / 'test/pictures/vis_data/vis_image').glob('*.png'))) == 2
    assert (tmp_path / 'maps.pkl').is_file()


def test_upernet_takes_a_step(tmp_path):
    cfg = Config.fromfile(small_config(tmp_path, UPERNET, SMALL_UPERNET))
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
    @pytest.fixture
    def config(self, coco_panoptic, tmp_path, monkeypatch):
        monkeypatch.setenv('COCO_ROOT', str(coco_panoptic))
        path = small_config(tmp_path, PANOPTIC, SMALL_PANOPTIC)
        common = dict(cfg_options=None, work_dir=str(tmp_path / 'run'), launcher='none', local_rank=0)
        cfg = load_config(Namespace(config=str(path), **common))
        for split in ('train', 'val', 'test'):
            for step in cfg[f'{split}_dataloader'].dataset.pipeline:
                if step.type == 'Resize':
                    step.scale = (SIDE, SIDE)
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
        assert truth.gt_instances.masks.masks.sum(axis=(1, 2)).tolist() == [30 * 50]  # crowds are left out


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

    def test_label_0_without_an_instance_is_no_void(self):
        assert self.count([[0, 0, 1, 1]] * 4) == [[1, 1, 0, 0], [1, 1, 0, 0]]

    def test_a_half_is_no_match(self):
        assert self.count([[1000, 2, 1, 1]] * 4) == [[0, 0, 1, 1], [1, 1, 0, 0]]

    def test_the_wrong_class(self):
        assert self.count([[1, 1, 1, 1]] * 4) == [[0, 0, 0, 1], [0, 0, 1, 1]]

    def test_void_and_crowds_excuse(self):
        found = [[1000, 1000, 1, 1]] * 4
        assert self.count(found, {7: (0, True), 9: (1, False)}) == [[0, 0, 0, 0], [1, 1, 0, 0]]
        truth = np.where(self.TRUTH == 7, 0, self.TRUTH)
        assert count_matches(np.array(found), truth, {9: (1, False)}, 2).tolist() == [
            [0, 0, 0, 0],
            [1, 1, 0, 0],
        ]

    def test_figures(self, tmp_path):
        categories = [
            dict(id=5, name='a', isthing=1),
            dict(id=6, name='b', isthing=0),
            dict(id=7, name='c', isthing=0),
        ]
        (tmp_path / 'x.json').write_text(json.dumps(dict(categories=categories, annotations=[])))
        metric = PanopticQuality(tmp_path / 'x.json', tmp_path)
        metric.dataset_meta = dict(classes=('a', 'b', 'c'))
        counts = np.array([[1.5, 2, 1, 1], [0, 0, 0, 3], [0, 0, 0, 0]])  # c never occurs
        figures = metric.compute_metrics([counts, np.zeros((3, 4))])
        assert figures['PQ_th'] == pytest.approx(50) and figures['SQ_th'] == pytest.approx(75)
        assert figures['RQ_th'] == pytest.approx(200 / 3) and figures['PQ_st'] == 0
        assert figures['PQ'] == pytest.approx(25)
        rows = PQReport().measured({f'coco_panoptic/{k}': v for k, v in figures.items()}, 'x')
        assert [(row.kind, round(row.figures['PQ'], 3)) for row in rows] == [
            ('all', 0.25),
            ('things', 0.5),
            ('stuff', 0),
        ]

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
        monkeypatch.setenv('ADE20K_ROOT', str(tmp_path))
        with pytest.raises(PreflightError, match=f'train data not found: {tmp_path}/{gone}.*') as error:
            check(load(SEMANTIC), ['train'], weights=False)
        assert 'ADE20K_ROOT=' in str(error.value)

    def test_another_number_of_classes(self, ade20k, monkeypatch):
        monkeypatch.setenv('ADE20K_ROOT', str(ade20k))
        cfg = load(SEMANTIC)
        check(cfg, ['train', 'val'], weights=False)
        wrapped = cfg.copy()  # as test-time augmentation does
        wrapped.model = dict(type='SegTTAModel', module=cfg.model)
        check(wrapped, ['test'], weights=False)
        cfg.model.decode_head.num_classes = 19
        with pytest.raises(PreflightError, match='150 classes .*decode head has 19'):
            check(cfg, ['train'], weights=False)

    def test_missing_panoptic_maps(self, coco_panoptic, tmp_path, monkeypatch):
        monkeypatch.setenv('COCO_ROOT', str(coco_panoptic))
        cfg = load(PANOPTIC)
        check(cfg, ['train', 'val'], weights=False)
        cfg.val_dataloader.dataset.data_prefix.seg = 'annotations/elsewhere/'
        with pytest.raises(PreflightError, match='annotations/elsewhere does not exist'):
            check(cfg, ['val'], weights=False)


def test_reports_pass_over_other_metrics():
    assert MIoUReport().measured({'coco/bbox_mAP': 0.3}, 'x') == PQReport().measured({'mIoU': 3.0}, 'x') == []
    (row,) = MIoUReport().measured({'mIoU': 40.5, 'aAcc': 80.0, 'mAcc': 50.0, 'time': 1.0}, 'iteration 8000')
    assert MIoUReport.style.cells(row) == ['iteration 8000', '', '40.50', '50.00', '80.00']


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
