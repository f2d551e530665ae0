"""The guard that compares the number of classes of heads and data."""

from pathlib import Path
from types import SimpleNamespace

import mmdet
import pytest
import torch
from conftest import CONFIGS
from mmdet.models import BaseMOTModel
from mmdet.registry import MODELS as DET_MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from fishnet_mmdet import ClassCountGuard
from fishnet_mmdet.training.guards.class_count import OTHER_CLASSES, TRACKER, mismatches


class TestClassCountGuard:
    """Detectors as mmdet builds them, without their backbone's weights."""

    COCO = dict(classes=tuple(f'c{i}' for i in range(80)))

    @staticmethod
    def built(name, **options):
        cfg = Config.fromfile(CONFIGS / f'{name}.py')
        cfg.merge_from_dict({'model.backbone.init_cfg': None, **options})
        with torch.device('meta'):
            return DET_MODELS.build(cfg.model)

    @pytest.mark.parametrize('heads', [('bbox',), ('mask',), ('bbox', 'mask')])
    def test_every_wrong_head_is_reported_with_its_key(self, heads):
        keys = [f'model.roi_head.{head}_head.num_classes' for head in heads]
        model = self.built('mask_rcnn_fishnet99_fpn', **dict.fromkeys(keys, 7))
        told = mismatches(model, self.COCO, 'train')
        assert len(told) == len(keys)
        for key, line in zip(keys, told, strict=True):
            assert line.startswith(f'{key} = 7') and f'set {key}=80' in line and '80 classes (c0, c1' in line

    @pytest.mark.parametrize('name', ['mask_rcnn_fishnet99_fpn', 'faster_rcnn_r50_fpn'])
    def test_the_published_heads_fit_coco(self, name):
        assert mismatches(self.built(name), self.COCO, 'train') == []

    def test_heads_of_other_classes_are_known_by_their_bases_too(self):
        """SCNet's counts COCO's 183 stuff classes, and is a FusedSemanticHead."""
        cfg = Config.fromfile(Path(mmdet.__file__).parent / '.mim/configs/scnet/scnet_r50_fpn_1x_coco.py')
        cfg.model.backbone.init_cfg = None
        with torch.device('meta'), DefaultScope.overwrite_default_scope('mmdet'):
            model = DET_MODELS.build(cfg.model)
        assert mismatches(model, self.COCO, 'train') == []

    @pytest.mark.parametrize('name', sorted({name for name in OTHER_CLASSES if name[0].isupper()}))
    def test_heads_that_count_something_else(self, name):
        """Tokens of text, persons, or edges; some of them cannot be built without further packages."""
        kind = DET_MODELS.get(name) or DET_MODELS.get(f'mmseg.{name}')
        model = nn.ModuleDict({'head': type('Derived', (type(kind.__name__, (nn.Identity,), {}),), {})()})
        model['head'].num_classes = 256
        assert mismatches(model, self.COCO, 'train') == []

    def test_validation_data_of_trackers(self):
        """They list 13 classes of the benchmark, of which a tracker finds one."""
        assert BaseMOTModel.__name__ == TRACKER
        run = self.runner(('a', 'b'), ('a', 'b', 'c'))
        run.model.__class__ = type('QDTrack', (type(TRACKER, (nn.ModuleDict,), {}),), {})
        ClassCountGuard().before_train(run)
        ClassCountGuard().before_val(run)
        run.train_dataloader.dataset.metainfo = dict(classes=('a',))
        with pytest.raises(ValueError, match=r"without=\['ClassCountGuard'\]"):
            ClassCountGuard().before_train(run)

    def test_panoptic_heads_count_things_and_stuff(self):
        data = dict(self.COCO, thing_classes=('t',) * 80, stuff_classes=('s',) * 53)
        assert mismatches(self.built('panoptic_fpn_fishnet150'), data, 'train') == []
        told = mismatches(self.built('panoptic_fpn_fishnet150', stuff=5), dict(data, stuff_classes=('s',) * 5), 'train')
        assert [line.split(' = ')[0] for line in told] == [
            f'model.{head}.num_stuff_classes' for head in ('semantic_head', 'panoptic_fusion_head')
        ]

    def runner(self, train, val):
        loaders = {
            f'{split}_dataloader': SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=classes)))
            for split, classes in (('train', train), ('val', val))
        }
        model = nn.ModuleDict({'bbox_head': nn.Identity()})
        model['bbox_head'].num_classes = 2
        return SimpleNamespace(model=model, val_loop=object(), **loaders)

    def test_validation_data_are_looked_at_before_training(self):
        guard = ClassCountGuard()
        guard.before_train(self.runner(('a', 'b'), ('a', 'b')))
        with pytest.raises(ValueError, match='bbox_head.num_classes = 2, but the val.*3 classes') as error:
            guard.before_train(self.runner(('a', 'b'), ('a', 'b', 'c')))
        assert 'correct val_dataloader.dataset.metainfo.classes' in str(error.value)
        assert 'train' not in str(error.value)

    def test_both_splits_are_reported_at_once(self):
        with pytest.raises(ValueError, match='(?s)the train data.*the val data'):
            ClassCountGuard().before_train(self.runner(('a',), ('a',)))

    def test_a_single_class_without_its_comma(self):
        with pytest.raises(ValueError, match=r"classes=\('fish',\)"):
            ClassCountGuard().before_val(self.runner(('a', 'b'), 'fish'))
