"""Settings that fail, or do nothing, only at a validation or a checkpoint: found before the run, and nothing else."""

import copy

import pytest
import torch
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.hooks import EMAHook

from fishnet_mmdet.evaluation.coco_names import MMDET_NAMES
from fishnet_mmdet.preflight.figures import figures_of
from fishnet_mmdet.preflight.kinds import KINDS
from fishnet_mmdet.preflight.necks import NECKS, check_necks
from fishnet_mmdet.preflight.settings import check_settings

EPOCHS = dict(
    train_dataloader=dict(batch_size=2),
    train_cfg=dict(type='ResumableEpochLoop', max_epochs=12, val_interval=1),
    optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
    val_dataloader=dict(batch_size=1),
    val_cfg=dict(type='ValLoop'),
    val_evaluator=dict(type='OfficialCocoMetric', metric='bbox'),
    param_scheduler=[
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=500),
        dict(type='MultiStepLR', milestones=[8, 11]),
    ],
    default_hooks=dict(checkpoint=dict(type='DurableCheckpoints', interval=1, save_best='coco/bbox_mAP')),
    custom_hooks=[],
    log_processor=dict(type='LogProcessor', by_epoch=True),
)
ITERS = copy.deepcopy(EPOCHS)
ITERS['train_cfg'] = dict(type='ResumableIterLoop', max_iters=9000, val_interval=1000)
ITERS['param_scheduler'] = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=500),
    dict(type='MultiStepLR', by_epoch=False, milestones=[6000]),
]
ITERS['default_hooks']['checkpoint'].update(by_epoch=False, interval=1000)
ITERS['log_processor'] = dict(type='LogProcessor', by_epoch=False)
SAVE_BEST, RULE = 'default_hooks.checkpoint.save_best', 'default_hooks.checkpoint.rule'


def findings(base=EPOCHS, splits=('train', 'val'), **options):
    cfg = Config(copy.deepcopy(base))
    for key, value in options.items():
        cfg.merge_from_dict({key: value})
    return [(finding.kind, finding.detail) for finding in check_settings(cfg, splits)]


@pytest.mark.parametrize('base', [EPOCHS, ITERS], ids=['epochs', 'iterations'])
def test_sound_settings(base):
    assert findings(base) == []
    assert findings(base, **{SAVE_BEST: ['coco/bbox_mAP_50', 'coco/bbox_AR@100']}) == []
    assert findings(base, **{SAVE_BEST: 'auto'}) == []
    assert findings(base, **{SAVE_BEST: 'own/thing', RULE: 'less', 'val_evaluator.type': 'MyMetric'}) == []
    assert findings(base, val_cfg=None, val_dataloader=None, val_evaluator=None, **{SAVE_BEST: None}) == []


def changed(kind, told, base=EPOCHS, **options):
    return pytest.param(kind, told, base, options, id=f'{kind}: {told[:40]}')


COCO = dict(type='CocoMetric', metric='bbox')
PANOPTIC = dict(_delete_=True, type='CocoPanopticMetric')
ON_A_RESNET = dict(depth=50, style='pytorch', out_indices=(0, 1), type='FishNet', init_cfg=None)
CASES = [
    changed('figure-missing', 'coco/bbox_mAP_50', **{SAVE_BEST: 'coco/segm_mAP'}),
    changed('figure-missing', "is 'coco/bbox_mAP' meant?", **{SAVE_BEST: 'bbox_mAP'}),
    changed('figure-missing', 'coco/bbox_mAP', ITERS, **{SAVE_BEST: ['coco/bbox_mAP', 'coco/nothing_mAP']}),
    changed('figure-missing', 'own/bbox_mAP', **{'val_evaluator.prefix': 'own'}),
    changed('figure-missing', 'AR@100', **{'val_evaluator': COCO, SAVE_BEST: 'coco/bbox_AR@100'}),
    changed('figure-missing', "monitor='loss'", param_scheduler=[dict(type='ReduceOnPlateauLR')]),
    changed('figure-missing', 'acc', custom_hooks=[dict(type='EarlyStoppingHook', monitor='acc', strict=True)]),
    changed('no-effect', 'EarlyStoppingHook', custom_hooks=[dict(type='EarlyStoppingHook', monitor='acc')]),
    changed('no-effect', 'gives no figures', **{'val_evaluator.format_only': True}),
    changed('no-effect', 'does not validate', val_cfg=None, val_dataloader=None, val_evaluator=None),
    changed('setting-invalid', 'rule', **{'val_evaluator': PANOPTIC, SAVE_BEST: 'auto'}),
    changed('setting-invalid', 'rule', **{'val_evaluator': dict(type='X'), SAVE_BEST: 'own/thing'}),
    changed('setting-invalid', 'has no argument eval_mode', val_evaluator=[COCO | dict(eval_mode='area')]),
    changed('setting-invalid', 'FishNet has no argument depth, style', **{'model.backbone': ON_A_RESNET}),
    changed('figures-twice', 'coco/bbox_mAP', val_evaluator=[COCO, dict(type='OfficialCocoMetric')]),
    changed('parts-missing', 'val_dataloader', val_dataloader=None),
    changed('parts-missing', 'without val_cfg', val_cfg=None, **{SAVE_BEST: None}),
    changed('parts-missing', 'without test_evaluator', test_dataloader=dict(), test_cfg=dict()),
    changed('package-missing', 'neptune', vis_backends=[dict(type='NeptuneVisBackend')]),
    changed('package-missing', 'aim', visualizer=dict(vis_backends=[dict(type='mmengine.AimVisBackend')])),
    changed('no-effect', 'only at its end', **{'train_cfg.val_interval': 50}),
    changed('no-effect', 'never validates', **{'train_cfg.val_begin': 13}),
    changed('no-effect', 'by_epoch=False, and interval', ITERS, **{'default_hooks.checkpoint.by_epoch': True}),
    changed('no-effect', 'writes none', **{'default_hooks.checkpoint': dict(interval=20, save_last=False)}),
    changed('setting-invalid', 'exactly once', **{'default_hooks.checkpoint.filename_tmpl': 'last.pth'}),
    changed('setting-invalid', 'exactly once', **{'default_hooks.checkpoint.filename_tmpl': '{}_{}.pth'}),
    changed('setting-invalid', 'begin_epoch=20', custom_hooks=[dict(type=EMAHook, begin_epoch=20)]),
    changed('setting-invalid', 'begin_iter=9001', ITERS, custom_hooks=[dict(type='EMAHook', begin_iter=9001)]),
    changed('no-effect', 'switch_epoch=20', custom_hooks=[dict(type='PipelineSwitchHook', switch_epoch=20)]),
    changed('no-effect', 'log_processor', ITERS, **{'log_processor.by_epoch': True}),
    changed('no-effect', 'milestone 8000 is not', param_scheduler=[dict(type='MultiStepLR', milestones=[8000])]),
    changed('no-effect', 'milestone 90 is not reached', param_scheduler=[dict(type='StepLR', step_size=90)]),
    changed('no-effect', 'milestones 12, 16 are', param_scheduler=[dict(type='MultiStepLR', milestones=[8, 12, 16])]),
    changed('no-effect', 'milestone 9000 is', ITERS,
            param_scheduler=[dict(type='MultiStepLR', by_epoch=False, milestones=[6000, 9000])]),
    changed('no-effect', 'by_epoch=True is the default', param_scheduler=[dict(type='LinearLR', end=500)]),
    changed('no-effect', 'set by_epoch=False', ITERS, param_scheduler=[dict(type='MultiStepLR', milestones=[8])]),
    changed('no-effect', 'begin=12', param_scheduler=[dict(type='CosineAnnealingLR', begin=12, T_max=3)]),
    changed('setting-invalid', 'less than end=5', param_scheduler=[dict(type='PolyLR', begin=5, end=5)]),
]  # fmt: skip


@pytest.mark.parametrize('kind, told, base, options', CASES)
def test_found_and_nothing_else(kind, told, base, options):
    found = findings(base, **options)
    assert [name for name, _ in found] == [kind] and told in found[0][1]
    assert kind in KINDS


def test_a_fishnet_of_somebody_else_has_arguments_of_its_own():
    class FishNet(torch.nn.Module):
        def __init__(self, depth):
            super().__init__()

    assert findings(**{'model.backbone': dict(type=FishNet, depth=50)}) == []
    assert findings(**{'model.backbone': dict(type='elsewhere.FishNet', depth=50)}) == []


class TestNecks:
    NARROW = dict(type='FishNet', arch=dict(base='fishnet99', width=0.25))

    @staticmethod
    def found(**model):
        register_all_modules(init_default_scope=False)
        return [finding.detail for finding in check_necks(Config(dict(model=model)))]

    @pytest.mark.parametrize('kind', sorted(NECKS))
    def test_channels_of_another_backbone(self, kind):
        neck = dict(type=kind, in_channels=[256, 512, 1024, 2048])
        (text,) = self.found(backbone=self.NARROW, neck=neck)
        assert text == f'{kind}.in_channels = [256, 512, 1024, 2048], but FishNet gives [80, 208, 400, 528]'
        assert self.found(backbone=self.NARROW, neck=dict(type=kind, in_channels=[80, 208, 400, 528])) == []

    def test_some_levels_for_the_first_of_several_necks(self):
        backbone = dict(type='FishNet', out_indices=(1, 2, 3))
        necks = [dict(type='FPN', in_channels=[320, 832, 1600]), dict(type='BFP', in_channels=256)]
        assert '[832, 1600, 2112]' in self.found(backbone=backbone, neck=necks)[0]

    def test_what_is_not_known_passes(self):
        class FPN(torch.nn.Module):
            pass

        wrong = dict(in_channels=[1, 2])
        assert self.found(backbone=dict(type='ResNet', depth=50), neck=dict(type='FPN', **wrong)) == []
        assert self.found(backbone=dict(type='FishNet'), neck=dict(type=FPN, **wrong)) == []
        assert self.found(backbone=dict(type='FishNet'), neck=dict(type='YOLOV3Neck', **wrong)) == []
        assert self.found(backbone=dict(type='FishNet', arch='vgg'), neck=dict(type='FPN', **wrong)) == []


def test_only_the_splits_that_run():
    assert findings(splits=['test'], val_dataloader=None, **{SAVE_BEST: 'nothing'}) == []


class TestFigures:
    def keys(self, evaluator, **more):
        return figures_of(Config(dict(val_evaluator=evaluator, **more)), 'val').keys

    def test_of_our_metric(self):
        keys = self.keys(dict(type='OfficialCocoMetric', metric=['bbox', 'segm']))
        assert set(keys) == {f'coco/{kind}_{name}' for kind in ('bbox', 'segm') for name in MMDET_NAMES.values()}

    def test_of_several(self):
        sets = dict(type='MultiDatasetsEvaluator', metrics=[COCO, COCO], dataset_prefixes=['A', 'B'])
        assert {'A/coco/bbox_mAP', 'B/coco/bbox_mAP'} < set(self.keys(sets))
        keys = self.keys(COCO, val_cfg=dict(type='TeacherStudentValLoop'))
        assert {'teacher/coco/bbox_mAP', 'student/coco/bbox_mAP'} < set(keys)

    def test_of_classes(self):
        figures = figures_of(Config(dict(val_evaluator=dict(COCO, classwise=True))), 'val')
        assert not figures.lack('coco/car_precision') and figures.lack('coco/car')


def test_every_metric_that_is_known_exists():
    import mmpretrain.evaluation  # noqa: F401  (registers)
    import mmseg.evaluation  # noqa: F401  (registers)
    from mmengine.registry import METRICS

    from fishnet_mmdet.preflight.figures import PREFIXES

    register_all_modules(init_default_scope=False)
    for name, prefix in PREFIXES.items():
        found = [METRICS.get(f'{scope}.{name}') or METRICS.get(name) for scope in ('mmdet', 'mmpretrain', 'mmseg')]
        metric = next(filter(None, found), None)
        assert metric is not None, name
        assert (metric.default_prefix or '') == prefix, name
