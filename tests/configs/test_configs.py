"""Every config loads, builds, and means what its name says. The recipe is read from a built runner."""

import re
from dataclasses import replace

import pytest
import torch
from config_cases import CLASSIFIERS, DETECTORS, EVERY, LIVE, PIXEL_LEVEL, build, load
from conftest import REPO, demo_options
from mmdet.utils import register_all_modules
from mmengine.config import Config, DictAction
from mmengine.registry import HOOKS, DefaultScope
from mmengine.runner import Runner
from torch.nn.modules.batchnorm import _BatchNorm

from fishnet_mmdet import ARCHS
from fishnet_mmdet.training.safety import SAFETY_HOOKS
from fishnet_mmdet.weights.catalogue import CATALOGUE

METHODS = {'mask_rcnn': 'MaskRCNN', 'faster_rcnn': 'FasterRCNN'}
BACKBONES = {
    'fishnet99': 'FishNet', 'fishnet150': 'FishNet', 'fishnet201': 'FishNet',
    'fishnext150': 'FishNet', 'fishnext229': 'FishNet', 'r50': 'ResNet', 'x50': 'ResNeXt',
}  # fmt: skip
SMALL = {'fishnet': 'FishNet', 'resnet_small': 'ResNet_CIFAR'}


@pytest.fixture(autouse=True, scope='module')
def registered():
    register_all_modules(init_default_scope=True)


def test_no_config_is_left_out():
    assert set(EVERY) == set(DETECTORS) | set(CLASSIFIERS) | set(PIXEL_LEVEL)


def test_the_papers_table_is_there():
    expected = {f'{m}_{b}_fpn' for m in METHODS for b in BACKBONES} - {'faster_rcnn_fishnext229_fpn'}
    assert expected <= set(DETECTORS)


class TestHooks:
    """The table "On by default" of docs/guards.md, against every config."""

    @staticmethod
    def table():
        """By hook, the cells of its row by the titles of their columns."""
        text = (REPO / 'docs' / 'guards.md').read_text().partition('## On by default')[2]
        lines = [[cell.strip() for cell in line.strip('| ').split('|')] for line in text.splitlines() if '|' in line]
        rows = {}
        for cells in lines[2:]:
            if not cells[0].startswith('`'):
                break
            for hook in re.findall(r'`(\w+)[^`]*`', cells[0]):
                rows[hook] = dict(zip(lines[0], cells, strict=True))
        return rows

    def test_the_table_is_read(self):
        assert {'FixedNormGuard', 'NonFiniteGuard', 'DurableCheckpoints', 'APReport'} <= set(self.table())

    @pytest.mark.parametrize('name', EVERY)
    def test_every_config_has_every_hook(self, name):
        cfg = load(name)
        family = dict(mmdet='detectors', mmpretrain='classifiers', mmseg='segmentors')[cfg.default_scope]
        default, custom = cfg.default_hooks.values(), cfg.custom_hooks
        listed = [hook.type for hook in [*default, *custom] if hook]
        assert 'SafetyHooks' in listed
        on = [*(name for name in listed if name != 'SafetyHooks'), *SAFETY_HOOKS]
        assert len(on) == len(set(on))
        expected = {hook for hook, row in self.table().items() if row[family] != 'no'}
        assert expected <= set(on)
        assert {hook.type for hook in custom} - {'SafetyHooks'} <= expected
        assert cfg.train_cfg.type in ('ResumableEpochLoop', 'ResumableIterLoop')
        assert cfg.env_cfg.dist_cfg == dict(backend='nccl', timeout=3600)

    @pytest.mark.parametrize('name', ['mask_rcnn_fishnet_demo', 'imagenet_fishnet99', 'upernet_fishnet150_ade20k'])
    def test_a_config_that_was_written_out_is_the_same(self, name, tmp_path):
        """As every run does with its config in its work dir."""
        cfg = load(name)
        cfg.dump(tmp_path / 'dumped.py')
        assert Config.fromfile(tmp_path / 'dumped.py').to_dict() == cfg.to_dict()


@pytest.mark.parametrize('name', DETECTORS)
def test_builds_as_named(name):
    cfg, model = load(name), build(name)
    match = re.match(rf'({"|".join(METHODS)})_({"|".join(BACKBONES | SMALL)})_', name + '_')
    assert match, f'{name} does not follow detector_backbone_neck'
    method, backbone = match.groups()
    assert type(model).__name__ == METHODS[method]
    assert type(model.backbone).__name__ == (BACKBONES | SMALL)[backbone]
    assert not any('classifier' in n.lower() or type(m).__name__ == 'FishNetNeck' for n, m in model.named_modules())
    if hasattr(model.backbone, 'out_channels'):
        assert tuple(cfg.model.neck.in_channels) == model.backbone.out_channels
        assert tuple(cfg.model.roi_head.bbox_roi_extractor.featmap_strides) == model.backbone.out_strides


@pytest.mark.parametrize('name', [n for n in DETECTORS if n not in LIVE])
def test_every_bn_is_fixed_and_the_stem_too(name):
    model = build(name).train()
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    assert norms and not any(m.training for m in norms)
    assert not any(p.requires_grad for m in norms for p in m.parameters())
    convs = [(n, m) for n, m in model.backbone.named_modules() if isinstance(m, torch.nn.Conv2d)]
    frozen = [n for n, m in convs if not m.weight.requires_grad]
    assert frozen == (['conv1'] if 'fishne' not in name else [f'stem.{i}.conv' for i in range(3)])


@pytest.mark.parametrize('name', LIVE)
def test_from_scratch_everything_is_live(name):
    model = build(name).train()
    assert all(m.training for m in model.modules() if isinstance(m, _BatchNorm))
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize('name', CLASSIFIERS)
def test_classifiers_build_as_named(name):
    arch, classes = CLASSIFIERS[name]
    model = build(name)
    with torch.device('meta'), DefaultScope.overwrite_default_scope('mmpretrain'):
        logits = model(torch.zeros(2, 3, 64, 64), mode='tensor')
    assert logits[0].shape == (2, model.head.in_channels) or logits.shape == (2, classes)
    assert model.head.fc.weight.shape == (classes, model.head.in_channels)
    assert load(name).data_preprocessor.num_classes == classes
    if arch:
        assert replace(model.backbone.arch, stem_stride=4) == ARCHS[arch]


@pytest.mark.parametrize('name', METHODS)
@pytest.mark.parametrize('arch', ['fishnet99', 'fishnet150', 'fishnet201'])
def test_the_papers_configs_load_weights_by_name(name, arch):
    init = load(f'{name}_{arch}_fpn').model.backbone.init_cfg
    assert init.type in ('Pretrained', 'FishNetPretrained') and init.checkpoint.startswith('fishnet://')
    assert CATALOGUE[init.checkpoint.removeprefix('fishnet://')].arch == arch


class TestRecipe:
    """Paper 4.4, as the runner of the main config would run it. The network is narrow: no test looks at it."""

    @pytest.fixture(scope='class')
    def runner(self, demo_data, tmp_path_factory):
        cfg, demo = load('mask_rcnn_fishnet150_fpn'), load('mask_rcnn_fishnet_demo')
        for split in ('train', 'val', 'test'):
            cfg[f'{split}_dataloader'].dataset = demo[f'{split}_dataloader'].dataset
        options = dict(option.split('=', 1) for option in demo_options(demo_data))
        options = {key: DictAction._parse_iterable(value) for key, value in options.items()}
        cfg.merge_from_dict({**options, 'train_dataloader.batch_size': 1})
        cfg.model.backbone.arch, cfg.model.neck = demo.model.backbone.arch, demo.model.neck
        cfg.model.rpn_head, cfg.model.roi_head = demo.model.rpn_head, demo.model.roi_head
        cfg.work_dir = str(tmp_path_factory.mktemp('recipe'))
        runner = Runner.from_cfg(cfg)
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner._train_loop = runner.build_train_loop(runner._train_loop)
        return runner

    def test_rates(self, runner):
        """Linear from 0.001 x over epoch 1, x0.1 after epochs 20 and 28."""
        schedulers = runner.build_param_scheduler(runner.param_schedulers)
        per_epoch = len(runner.train_loop.dataloader)
        assert runner.train_loop.max_epochs == 32
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
        group = runner.optim_wrapper.optimizer.defaults
        assert (group['lr'], group['momentum'], group['weight_decay']) == (0.02, 0.9, 1e-4)
        assert runner.cfg.auto_scale_lr.base_batch_size == 16
        assert runner.cfg.train_dataloader.batch_size == 1

    @pytest.mark.parametrize('first', [0, 1, 2, 7])
    def test_clipping_in_epochs_1_and_2_from_any_resume(self, runner, first):
        """A resume is a new process: a new hook, and an optimizer wrapper as the config says."""
        (settings,) = [hook for hook in runner.cfg.custom_hooks if hook.type == 'EarlyClipping']
        hook = HOOKS.build(settings)
        runner.optim_wrapper.clip_grad_kwargs = dict(runner.cfg.optim_wrapper.clip_grad)
        hook.before_train(runner)
        for epoch in range(first, 9):
            runner.train_loop._epoch = epoch
            runner.message_hub.update_scalar('train/grad_norm', 3.0)
            hook.before_train_epoch(runner)
            assert ('train/grad_norm' in runner.message_hub.log_scalars) == (epoch < 2)
            expected = dict(max_norm=5.0) if epoch < 2 else None
            assert runner.optim_wrapper.clip_grad_kwargs == expected, f'epoch {epoch + 1}'

    def test_the_hooks_of_the_config_are_the_runners(self, runner):
        built = {type(hook).__name__ for hook in runner.hooks}
        assert {hook.type for hook in runner.cfg.custom_hooks} | {'DurableCheckpoints'} <= built
        assert type(runner.train_loop).__name__ == 'ResumableEpochLoop'

    def test_images_of_the_paper(self):
        cfg = load('mask_rcnn_fishnet150_fpn')
        steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
        assert tuple(steps['Resize'].scale) == (1333, 800) and steps['RandomFlip'].prob == 0.5
        assert cfg.train_dataloader.dataset.ann_file.endswith('instances_train2017.json')
        assert cfg.val_dataloader.dataset.ann_file.endswith('instances_val2017.json')


def test_coco_root_moves_every_path(monkeypatch):
    monkeypatch.setenv('COCO_ROOT', '/somewhere/coco')
    cfg = Config.fromfile(REPO / 'configs' / 'faster_rcnn_fishnet99_fpn.py')
    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.data_root == '/somewhere/coco/'
    assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file
    assert cfg.val_evaluator.ann_file == '/somewhere/coco/annotations/instances_val2017.json'
