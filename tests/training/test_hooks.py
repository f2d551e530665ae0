"""Guards, hook by hook, with a runner as small as can be."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from seeded import NARROW
from torch import nn

from fishnet_mmdet import (
    EarlyClipping,
    FishNet,
    FixedNormGuard,
    NonFiniteGuard,
    PlainCheckpoints,
)  # fmt: skip


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
        with pytest.raises(RuntimeError, match='backbone.stem.0.norm.*init_cfg.*mask_rcnn_fishnet150_fpn_scratch'):
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
