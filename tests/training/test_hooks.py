"""Guards and checkpoints, hook by hook, with a runner as small as can be."""

from collections import OrderedDict
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace

import mmdet
import numpy as np
import pytest
import torch
from conftest import CONFIGS
from mmdet.registry import MODELS as DET_MODELS
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.model import Sequential
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from seeded import NARROW
from torch import nn

from fishnet_mmdet import (
    ClassCountGuard,
    EarlyClipping,
    FishNet,
    FixedNormGuard,
    NonFiniteGuard,
    PlainCheckpoints,
)  # fmt: skip
from fishnet_mmdet.training.checkpoints.complete import CompleteResume
from fishnet_mmdet.training.checkpoints.plain import to_plain
from fishnet_mmdet.training.guards.class_count import mismatches
from fishnet_mmdet.weights.reading import WeightsError


def test_hooks_are_mmengines():
    assert all(issubclass(h, Hook) for h in (EarlyClipping, FixedNormGuard, NonFiniteGuard, PlainCheckpoints))


class TestEarlyClipping:
    def test_nothing_to_clip_to(self):
        runner = SimpleNamespace(optim_wrapper=SimpleNamespace(clip_grad_kwargs=None))
        with pytest.raises(ValueError, match='clip_grad=dict'):
            EarlyClipping().before_train(runner)

    @pytest.mark.parametrize('epochs', [-1, 1.5, '2'])
    def test_bad_epochs(self, epochs):
        with pytest.raises(ValueError, match='epochs'):
            EarlyClipping(epochs)


class TestFixedNormGuard:
    def runner(self, **kwargs):
        return SimpleNamespace(model=nn.ModuleDict({'backbone': FishNet(NARROW, **kwargs)}))

    FIXED = dict(norm_cfg=dict(type='BN', requires_grad=False), norm_eval=True)

    def test_live_norms_may_be_new(self):
        FixedNormGuard().before_train(self.runner())

    def test_affine_parameters_that_learn_do_not_count_as_fixed(self):
        FixedNormGuard().before_train(self.runner(norm_eval=True))

    def test_fixed_norms_without_weights_are_refused(self):
        runner = self.runner(**self.FIXED)
        with pytest.raises(RuntimeError, match='backbone.stem.0.norm.*init_cfg.*_scratch.py'):
            FixedNormGuard().before_train(runner)

    def test_a_frozen_stem_without_weights_is_refused(self):
        with pytest.raises(RuntimeError, match='3 of 3 fixed'):
            FixedNormGuard().before_train(self.runner(frozen_stages=0))

    def test_statistics_that_were_folded_into_the_affine_part_pass(self):
        """As mmdet's converter of Caffe weights leaves them: mean 0, variance 1."""
        runner = self.runner(**self.FIXED)
        for layer in runner.model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.data.uniform_(0.5, 2)
                layer.bias.data.uniform_(-1, 1)
        FixedNormGuard().before_train(runner)

    def test_learnt_statistics_pass_and_a_single_gap_is_reported(self):
        runner = self.runner(**self.FIXED)
        for layer in runner.model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.uniform_(-1, 1)
                layer.running_var.uniform_(0.5, 2)
        FixedNormGuard().before_train(runner)
        gap = runner.model['backbone'].head[1].refine[0].conv.norm
        gap.reset_running_stats()
        with pytest.raises(RuntimeError, match='1 of .* backbone.head.1.refine.0.conv.norm'):
            FixedNormGuard().before_train(runner)


class Scaled(OptimWrapper):
    """Mixed precision without a GPU, which MMEngine's AmpOptimWrapper asks for."""

    def __init__(self, optimizer):
        super().__init__(optimizer)
        self.loss_scaler = torch.amp.GradScaler('cpu')

    def backward(self, loss):
        self.loss_scaler.scale(loss).backward()
        self._inner_count += 1

    def step(self):
        self.loss_scaler.step(self.optimizer)
        self.loss_scaler.update()


class TestNonFiniteGuard:
    """With a model of two weights; ranks are in test_ranks.py."""

    @pytest.fixture
    def runner(self):
        model = nn.Linear(2, 1, bias=False)
        nn.init.ones_(model.weight)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
        logger = SimpleNamespace(critical=lambda message: None)
        return SimpleNamespace(epoch=2, iter=41, model=model, optim_wrapper=OptimWrapper(optimizer), logger=logger)

    BATCH = {'data_samples': [SimpleNamespace(img_path='a.jpg'), SimpleNamespace(img_path='b.jpg')]}

    def train_step(self, guard, runner, factor, batch=None):
        """One iteration, whose loss and gradient are in proportion to `factor`."""
        loss = (runner.model.weight * factor).sum()
        runner.optim_wrapper.update_params(loss)
        outputs = {'loss': loss.detach(), 'grad_norm': torch.tensor(float('inf')), 'acc': torch.tensor(50.0)}
        guard.after_train_iter(runner, 1, batch or self.BATCH, outputs)

    @pytest.fixture
    def guard(self, runner):
        guard = NonFiniteGuard(max_skipped=3)
        guard.before_train(runner)
        return guard

    @pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
    def test_a_loss_is_reported_with_iteration_rate_and_images(self, guard, runner, value):
        with pytest.raises(FloatingPointError, match='^non-finite loss') as error:
            self.train_step(guard, runner, value)
        for part in ('epoch 3', 'iteration 42', '0.02', f'loss = {value:g}', 'a.jpg', 'b.jpg'):
            assert part in str(error.value)
        assert runner.model.weight.tolist() == [[1, 1]]  # no step was taken

    @pytest.mark.parametrize('clip', [None, dict(max_norm=5.0)], ids=['unclipped', 'clipped'])
    def test_a_gradient_is_reported_before_it_spoils_weights_or_momentum(self, guard, runner, clip):
        runner.optim_wrapper = OptimWrapper(runner.optim_wrapper.optimizer, clip_grad=clip)
        self.train_step(guard, runner, 1.0)
        before, momentum = runner.model.weight.tolist(), runner.optim_wrapper.optimizer.state_dict()['state']
        momentum = momentum[0]['momentum_buffer'].tolist()
        runner.model.weight.register_hook(lambda gradient: gradient * torch.tensor([1.0, float('nan')]))
        with pytest.raises(FloatingPointError, match='^non-finite gradient of finite losses.*\n.*a.jpg, b.jpg'):
            self.train_step(guard, runner, 1.0)
        assert runner.model.weight.tolist() == before
        state = runner.optim_wrapper.optimizer.state_dict()['state'][0]
        assert state['momentum_buffer'].tolist() == momentum

    def test_sound_steps_pass_and_the_weights_move(self, guard, runner):
        for _ in range(9):
            self.train_step(guard, runner, 1.0)
        assert runner.model.weight.max() < 1

    def test_a_weight_is_distinguished_from_an_image(self, guard, runner):
        runner.model.weight.data[0, 1] = float('nan')
        with pytest.raises(FloatingPointError, match='1 of the weights are not finite, the first of them weight'):
            self.train_step(guard, runner, 1.0)

    def test_samples_of_any_nesting_and_none(self, guard, runner):
        nested = {
            'inputs': {'sup': torch.ones(2)},
            'data_samples': {'sup': [SimpleNamespace(img_id=7)], 'un': None},
        }
        for batch, told in ((nested, 'Images: 7'), ({'inputs': 0}, 'Images: unknown')):
            with pytest.raises(FloatingPointError, match=told):
                self.train_step(guard, runner, float('nan'), batch)

    @pytest.mark.parametrize('fused', [False, True])
    def test_mixed_precision_may_skip_steps_but_not_for_ever(self, runner, fused):
        optimizer = torch.optim.SGD(runner.model.parameters(), lr=0.02, fused=fused)
        runner.optim_wrapper, guard, overflow = Scaled(optimizer), NonFiniteGuard(max_skipped=3), [True]
        guard.before_train(runner)
        runner.model.weight.register_hook(lambda gradient: gradient * (float('inf') if overflow[0] else 1))
        for overflow[0] in (True, True, False, True, True):
            self.train_step(guard, runner, 1.0)
        with pytest.raises(FloatingPointError, match='skipped the last 3 steps(?s:.*)bfloat16'):
            self.train_step(guard, runner, 1.0)
        assert runner.model.weight.isfinite().all()

    def test_accumulated_iterations_are_no_skipped_steps(self, runner):
        runner.optim_wrapper = Scaled(runner.optim_wrapper.optimizer)
        runner.optim_wrapper._accumulative_counts, guard = 10, NonFiniteGuard(max_skipped=3)
        guard.before_train(runner)
        for _ in range(20):
            self.train_step(guard, runner, 1.0)

    def test_broken_weights_are_not_saved(self, guard, runner):
        state = {
            'weight': runner.model.weight.detach(),
            'mask': torch.tensor([-float('inf')]),
            'n': torch.tensor(3),
        }
        guard.before_save_checkpoint(runner, {'state_dict': state})  # a buffer may hold what it likes
        guard.before_save_checkpoint(runner, {'state_dict': {'weight': torch.full((9,), 3e38)}})
        for broken in (
            {'weight': torch.tensor([1, float('nan')])},
            {'bn.running_var': torch.tensor([float('inf')])},
        ):
            with pytest.raises(FloatingPointError, match=f'no checkpoint is written.*{next(iter(broken))}'):
                guard.before_save_checkpoint(runner, {'state_dict': {**state, **broken}})

    def test_optimizers_are_left_as_they_were(self, guard, runner):
        guard.after_train(runner)
        runner.optim_wrapper.update_params((runner.model.weight * float('nan')).sum())
        assert runner.model.weight.isnan().all()

    @pytest.mark.parametrize('value', [0, 2.5, True])
    def test_a_bad_limit(self, value):
        with pytest.raises(ValueError, match='max_skipped'):
            NonFiniteGuard(value)


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
        assert 'set the classes of val_dataloader.dataset.metainfo' in str(error.value)
        assert 'train' not in str(error.value)

    def test_both_splits_are_reported_at_once(self):
        with pytest.raises(ValueError, match='(?s)the train data.*the val data'):
            ClassCountGuard().before_train(self.runner(('a',), ('a',)))

    def test_a_single_class_without_its_comma(self):
        with pytest.raises(ValueError, match=r"classes=\('fish',\)"):
            ClassCountGuard().before_val(self.runner(('a', 'b'), 'fish'))


class TestCompleteResume:
    """Which modules still read their pretrained file on a resume."""

    FROM_FILE = dict(type='Pretrained', checkpoint='/nowhere.pth')

    def model(self):
        model = Sequential(Sequential(nn.Linear(2, 3)), Sequential(nn.BatchNorm1d(3)))
        model[0].init_cfg = [dict(type='Normal', layer='Linear', std=0.1), self.FROM_FILE]
        model[1].init_cfg = self.FROM_FILE
        # As mmdet keeps the teacher of a distillation out of its student's checkpoints.
        model.__dict__['teacher'] = Sequential(nn.Linear(2, 3), init_cfg=self.FROM_FILE)
        return model

    def marked(self, lacking=()):
        model = self.model()
        shapes = {key: value.shape for key, value in model.state_dict().items() if key not in lacking}
        hook = CompleteResume(shapes)
        hook.before_run(SimpleNamespace(model=model))
        return hook, model, [module.is_init for module in (model, model[0], model[1], model.teacher)]

    def test_none_of_a_complete_checkpoint(self):
        hook, model, marked = self.marked()
        assert marked == [False, True, True, False]
        # It would fail on a file that is read.
        model.init_weights()
        hook.after_load_checkpoint(SimpleNamespace(model=model), {'state_dict': {**model.state_dict(), 'more': 1}})

    def test_those_whose_weights_are_lacking(self):
        lacking = ('1.0.running_mean',)
        hook, model, marked = self.marked(lacking)
        assert marked == [False, True, False, False]
        state = {key: value for key, value in model.state_dict().items() if key not in lacking}
        hook.after_load_checkpoint(SimpleNamespace(model=model), {'state_dict': state})
        with pytest.raises(WeightsError, match='(?s)would stay random.*0.0.weight'):
            hook.after_load_checkpoint(SimpleNamespace(model=model), {'state_dict': {'0.0.bias': state['0.0.bias']}})


class TestPlainCheckpoints:
    def checkpoint(self):
        class Epoch(IntEnum):
            FIRST = 1

        history = HistoryBuffer([1.0, 2.5], [1, 4], 1000)
        return {
            'state_dict': OrderedDict(w=torch.ones(2)),
            'message_hub': {
                'log_scalars': OrderedDict({'train/loss': history}),
                'runtime_info': OrderedDict(best=np.float64(0.5), count=np.int64(3), curve=np.arange(3.0)),
                'resumed_keys': OrderedDict({'train/loss': True}),
            },
            'meta': {'epoch': Epoch.FIRST, 'dataset_meta': {'classes': ('a', 'b'), 'palette': [(1, 2, 3)]}},
            'param_schedulers': [{'last_step': 3, 'base_values': [0.02]}],
        }

    def test_the_file_is_safe_and_says_the_same(self, tmp_path):
        checkpoint = self.checkpoint()
        PlainCheckpoints().before_save_checkpoint(SimpleNamespace(), checkpoint)
        torch.save(checkpoint, tmp_path / 'c.pth')
        assert torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / 'c.pth') == []
        loaded = torch.load(tmp_path / 'c.pth', weights_only=True)
        PlainCheckpoints().after_load_checkpoint(SimpleNamespace(), loaded)
        history = loaded['message_hub']['log_scalars']['train/loss']
        assert isinstance(history, HistoryBuffer) and history.max_length == 1000
        assert [list(part) for part in history.data] == [[1.0, 2.5], [1, 4]]
        assert history.mean() == self.checkpoint()['message_hub']['log_scalars']['train/loss'].mean()
        info = loaded['message_hub']['runtime_info']
        assert info['best'] == 0.5 and info['count'] == 3 and info['curve'].tolist() == [0, 1, 2]
        assert loaded['meta'] == {'epoch': 1, 'dataset_meta': {'classes': ('a', 'b'), 'palette': [(1, 2, 3)]}}

    def test_what_has_no_plain_form_is_named(self):
        told = []
        runner = SimpleNamespace(logger=SimpleNamespace(warning=told.append))
        checkpoint = {'state_dict': {}, 'meta': {'made_by': object(), 'epoch': 1}}
        PlainCheckpoints().before_save_checkpoint(runner, checkpoint)
        assert checkpoint['meta'] == {'made_by': None, 'epoch': 1}
        assert 'meta.made_by (object)' in told[0]

    def test_a_weights_file_of_others_passes_untouched(self):
        checkpoint = {'state_dict': {'w': torch.ones(1)}}
        PlainCheckpoints().after_load_checkpoint(SimpleNamespace(), checkpoint)
        assert list(checkpoint) == ['state_dict']

    def test_plain_values_are_kept_as_they_are(self):
        value = {'a': [1, (2.5, 'x', None, True)], 3: torch.ones(1)}
        assert to_plain(value, '', []) == value
