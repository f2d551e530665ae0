"""Every config loads, builds, and means what its name says; the recipe is read off a built runner."""

import re
from dataclasses import replace

import pytest
import torch
from conftest import CONFIGS, demo_options
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config, DictAction
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch.nn.modules.batchnorm import _BatchNorm

from fishnet_mmdet import ARCHS
from fishnet_mmdet.weights.catalogue import CATALOGUE

EVERY = sorted(path.stem for path in CONFIGS.glob('*.py'))
DETECTORS = {'mask_rcnn': 'MaskRCNN', 'faster_rcnn': 'FasterRCNN'}
BACKBONES = {
    'fishnet99': 'FishNet', 'fishnet150': 'FishNet', 'fishnet201': 'FishNet',
    'fishnext150': 'FishNet', 'fishnext229': 'FishNet', 'r50': 'ResNet', 'x50': 'ResNeXt',
}  # fmt: skip
ALL = [name for name in EVERY if name.startswith(tuple(DETECTORS))]
CLASSIFIERS = {
    'imagenet_fishnet99': ('fishnet99', 1000), 'imagenet_fishnet99_cosine': ('fishnet99', 1000),
    'imagenet_fishnet150': ('fishnet150', 1000), 'imagenet_fishnet150_cosine': ('fishnet150', 1000),
    'imagenet_fishnet201': ('fishnet201', 1000), 'imagenet_fishnet201_cosine': ('fishnet201', 1000),
    'imagenet_fishnext150': ('fishnext150', 1000),
    'tiny_imagenet_fishnet99': ('fishnet99', 200), 'tiny_imagenet_fishnet150': ('fishnet150', 200),
    'classifier_fishnet_demo': (None, 9),
}  # fmt: skip
# method_backbone, and the data set where it is not COCO; tests/configs/test_pixel_level.py builds and runs them
PIXEL_LEVEL = {
    'semantic_fpn_fishnet150_ade20k': ('EncoderDecoder', 'FPNHead'),
    'upernet_fishnet150_ade20k': ('EncoderDecoder', 'UPerHead'),
    'panoptic_fpn_fishnet150': ('PanopticFPN', 'PanopticFPNHead'),
}
LIVE = [name for name in ALL if 'scratch' in name or name.endswith(('demo', 'nuclei'))]


@pytest.fixture(autouse=True, scope='module')
def registered():
    register_all_modules(init_default_scope=True)


def load(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


def options(root, **more):
    """The settings of `demo_options` for Config.merge_from_dict."""
    pairs = dict(option.split('=', 1) for option in demo_options(root))
    return {key: DictAction._parse_iterable(value) for key, value in pairs.items()} | more


def test_the_papers_table_is_there():
    expected = {f'{d}_{b}_fpn' for d in DETECTORS for b in BACKBONES} - {'faster_rcnn_fishnext229_fpn'}
    assert expected <= set(ALL)


@pytest.mark.parametrize('name', ALL)
def test_builds_as_named(name):
    cfg = load(name)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    match = re.match(
        r'(mask_rcnn|faster_rcnn)_(fishnet99|fishnet150|fishnet201|fishnext150|fishnext229|r50|x50|fishnet)_',
        name + '_',
    )
    assert match, f'{name} does not follow detector_backbone_neck'
    detector, backbone = match.groups()
    assert type(model).__name__ == DETECTORS[detector]
    assert type(model.backbone).__name__ == BACKBONES.get(backbone, 'FishNet')
    assert not any('classifier' in n.lower() or type(m).__name__ == 'FishNetNeck' for n, m in model.named_modules())
    if hasattr(model.backbone, 'out_channels'):
        assert tuple(cfg.model.neck.in_channels) == model.backbone.out_channels
        assert tuple(cfg.model.roi_head.bbox_roi_extractor.featmap_strides) == model.backbone.out_strides


@pytest.mark.parametrize('name', [n for n in ALL if n not in LIVE])
def test_every_bn_is_fixed_and_the_stem_too(name):
    with torch.device('meta'):
        model = MODELS.build(load(name).model).train()
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    assert norms and not any(m.training for m in norms)
    assert not any(p.requires_grad for m in norms for p in m.parameters())
    backbone = model.backbone
    frozen = [n for n, m in backbone.named_modules() if isinstance(m, torch.nn.Conv2d) and not m.weight.requires_grad]
    stem = ['conv1'] if 'fishne' not in name else [f'stem.{i}.conv' for i in range(3)]
    assert frozen == stem


@pytest.mark.parametrize('name', LIVE)
def test_from_scratch_everything_is_live(name):
    with torch.device('meta'):
        model = MODELS.build(load(name).model).train()
    assert all(m.training for m in model.modules() if isinstance(m, _BatchNorm))
    assert all(p.requires_grad for p in model.parameters())


def test_no_config_is_left_out():
    assert set(EVERY) == set(ALL) | set(CLASSIFIERS) | set(PIXEL_LEVEL)


@pytest.mark.parametrize('name', CLASSIFIERS)
def test_classifiers_build_as_named(name):
    arch, classes = CLASSIFIERS[name]
    cfg = load(name)
    with torch.device('meta'), DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build({**cfg.model, 'type': 'mmpretrain.ImageClassifier'})
        logits = model(torch.zeros(2, 3, 64, 64), mode='tensor')
    assert logits[0].shape == (2, model.neck.out_channels) or logits.shape == (2, classes)
    assert model.head.fc.weight.shape == (classes, model.neck.out_channels)
    assert cfg.data_preprocessor.num_classes == classes
    if arch:
        assert replace(model.backbone.arch, stem_stride=4) == ARCHS[arch]


@pytest.mark.parametrize('name', ['mask_rcnn', 'faster_rcnn'])
@pytest.mark.parametrize('arch', ['fishnet99', 'fishnet150', 'fishnet201'])
def test_the_papers_configs_load_weights_by_name(name, arch):
    init = load(f'{name}_{arch}_fpn').model.backbone.init_cfg
    assert init.type == 'Pretrained' and init.checkpoint.startswith('fishnet://')
    assert CATALOGUE[init.checkpoint.removeprefix('fishnet://')].arch == arch


def build_runner(cfg, work_dir):
    cfg.work_dir = str(work_dir)
    return Runner.from_cfg(cfg)


class TestRecipe:
    """Paper 4.4, as the runner of the main config would run it; the network in narrow, since it is not looked at."""

    @pytest.fixture
    def runner(self, demo_data, tmp_path):
        cfg = load('mask_rcnn_fishnet150_fpn')
        demo = load('mask_rcnn_fishnet_demo')
        for split in ('train', 'val', 'test'):
            cfg[f'{split}_dataloader'].dataset = demo[f'{split}_dataloader'].dataset
        cfg.merge_from_dict(options(demo_data, **{'train_dataloader.batch_size': 1}))
        cfg.model.backbone.arch, cfg.model.neck = demo.model.backbone.arch, demo.model.neck
        cfg.model.rpn_head, cfg.model.roi_head = demo.model.rpn_head, demo.model.roi_head
        return build_runner(cfg, tmp_path)

    def test_rates(self, runner):
        """Linear from 0.001 x over epoch 1, x0.1 after epochs 20 and 28."""
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        loop = runner._train_loop = runner.build_train_loop(runner._train_loop)
        schedulers = runner.build_param_scheduler(runner.param_schedulers)
        per_epoch = len(loop.dataloader)
        assert loop.max_epochs == 32
        rates = []
        for _ in range(32):
            rates.append([])
            for _ in range(per_epoch):
                rates[-1].append(runner.optim_wrapper.get_lr()['lr'][0])
                runner.optim_wrapper.optimizer.step()
                [s.step() for s in schedulers if not s.by_epoch]
            [s.step() for s in schedulers if s.by_epoch]
        assert rates[0][0] == pytest.approx(2e-5)
        assert rates[0][-1] == pytest.approx(0.02)
        assert all(b > a for a, b in zip(rates[0], rates[0][1:], strict=False))
        for epoch in range(1, 32):
            expected = 0.02 if epoch < 20 else 0.002 if epoch < 28 else 0.0002
            assert rates[epoch] == pytest.approx([expected] * per_epoch), f'epoch {epoch + 1}'

    def test_optimizer_and_batch(self, runner):
        group = runner.build_optim_wrapper(runner.optim_wrapper).optimizer.defaults
        assert (group['lr'], group['momentum'], group['weight_decay']) == (0.02, 0.9, 1e-4)
        assert runner.cfg.auto_scale_lr.base_batch_size == 16
        assert runner.cfg.train_dataloader.batch_size == 1

    @pytest.mark.parametrize('first', [0, 1, 2, 7])
    def test_clipping_in_epochs_1_and_2_from_any_resume(self, runner, first):
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner._train_loop = runner.build_train_loop(runner._train_loop)
        (hook,) = [h for h in runner.hooks if type(h).__name__ == 'EarlyClipping']
        hook.before_train(runner)
        for epoch in range(first, 9):
            runner.train_loop._epoch = epoch
            runner.message_hub.update_scalar('train/grad_norm', 3.0)
            hook.before_train_epoch(runner)
            assert ('train/grad_norm' in runner.message_hub.log_scalars) == (epoch < 2)
            expected = dict(max_norm=5.0) if epoch < 2 else None
            assert runner.optim_wrapper.clip_grad_kwargs == expected, f'epoch {epoch + 1}'

    def test_guards_are_on(self, runner):
        hooks = {type(h).__name__ for h in runner.hooks}
        assert {
            'ClassCountGuard', 'NonFiniteGuard', 'FixedNormGuard', 'PlainCheckpoints', 'APReport',
            'SyncBuffersHook', 'DurableCheckpoints', 'LostRankGuard',
        } <= hooks  # fmt: skip
        assert type(runner.train_loop).__name__ == 'ResumableEpochLoop'

    def test_images_of_the_paper(self):
        cfg = load('mask_rcnn_fishnet150_fpn')
        steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
        assert tuple(steps['Resize'].scale) == (1333, 800) and steps['RandomFlip'].prob == 0.5
        assert cfg.train_dataloader.dataset.ann_file.endswith('instances_train2017.json')
        assert cfg.val_dataloader.dataset.ann_file.endswith('instances_val2017.json')


def test_coco_root_moves_every_path(monkeypatch):
    monkeypatch.setenv('COCO_ROOT', '/somewhere/coco')
    cfg = load('faster_rcnn_fishnet99_fpn')
    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.data_root == '/somewhere/coco/'
    assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file
    assert cfg.val_evaluator.ann_file == '/somewhere/coco/annotations/instances_val2017.json'
