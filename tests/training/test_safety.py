"""`SafetyHooks` brings every guard under one name; `ScratchNormGuard` warns of a neck without norms."""

import pytest
import torch
from mmdet.models.necks import FPN
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from seeded import NARROW, seed
from torch import nn
from torch.utils.data import DataLoader

from fishnet_mmdet import FishNet, NonFiniteGuard, SafetyHooks
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.training.guards.scratch_norm import scratch_warnings
from fishnet_mmdet.training.safety import SAFETY_HOOKS


class Detector(BaseModel):
    """A FishNet and an FPN."""

    def __init__(self, norm_cfg=None, **backbone):
        super().__init__()
        self.backbone = FishNet(**{'arch': NARROW, **backbone})
        self.neck = FPN(list(self.backbone.out_channels), 8, len(self.backbone.out_channels), norm_cfg=norm_cfg)

    def forward(self, inputs, mode='tensor'):
        levels = self.neck(self.backbone(torch.stack(inputs)))
        return dict(loss=sum(level.square().mean() for level in levels))


class Wrapper(nn.Module):
    def __init__(self, detector):
        super().__init__()
        self.student = detector


class Mine(Hook):
    """A hook of the base config."""


def runner(tmp_path, model=None, hook=None, custom=()):
    return Runner(
        model=model or Detector(),
        work_dir=str(tmp_path),
        train_dataloader=DataLoader([torch.rand(3, 64, 64) for _ in range(2)], 2, collate_fn=lambda x: dict(inputs=x)),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-9)),
        default_hooks=dict(safety=hook or dict(type='SafetyHooks')),
        custom_hooks=[*custom],
        default_scope='mmdet',
        experiment_name=tmp_path.name,
    )


def names(run):
    return [type(hook).__name__ for hook in run.hooks]


class TestSafetyHooks:
    def test_adds_every_hook_at_its_priority_and_keeps_the_configs_own(self, tmp_path):
        run = runner(tmp_path, custom=[Mine()])
        run.train()
        built = names(run)
        assert {*SAFETY_HOOKS, 'Mine', 'CheckpointHook'} <= set(built) and len(built) == len(set(built))
        priorities = [hook.priority for hook in run.hooks]
        order = ['HIGHEST', 'VERY_HIGH', 'HIGH', 'ABOVE_NORMAL', 'NORMAL', 'BELOW_NORMAL', 'LOW', 'VERY_LOW', 'LOWEST']
        assert priorities == sorted(priorities, key=order.index)
        assert torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / 'epoch_1.pth') == []

    def test_every_hook_hears_of_the_run_once(self, tmp_path, monkeypatch):
        heard = []
        for name in SAFETY_HOOKS:
            monkeypatch.setattr(HOOKS.get(name), 'before_run', lambda hook, run: heard.append(type(hook).__name__))
        run = runner(tmp_path)
        run.call_hook('before_run')
        assert sorted(heard) == sorted(SAFETY_HOOKS)
        run.call_hook('before_run')  # as a validation of the same runner does
        assert sorted(heard) == sorted(2 * SAFETY_HOOKS) and len(names(run)) == len(set(names(run)))

    def test_a_hook_of_the_config_is_not_added_again(self, tmp_path):
        run = runner(tmp_path, custom=[NonFiniteGuard(max_skipped=3)])
        run.call_hook('before_run')
        (guard,) = (hook for hook in run.hooks if isinstance(hook, NonFiniteGuard))
        assert guard.max_skipped == 3

    def test_hooks_can_be_left_out(self, tmp_path):
        run = runner(tmp_path, hook=dict(type='SafetyHooks', without=['APReport', 'NonFiniteGuard']))
        run.call_hook('before_run')
        assert set(SAFETY_HOOKS) - set(names(run)) == {'APReport', 'NonFiniteGuard'}

    def test_what_one_of_several_leaves_out_is_left_out(self, tmp_path):
        """As `default_hooks.safety` in a config on a base that lists `SafetyHooks` in `custom_hooks`."""
        run = runner(tmp_path, hook=dict(type='SafetyHooks', without=['APReport']), custom=[SafetyHooks()])
        run.call_hook('before_run')
        assert set(SAFETY_HOOKS) - set(names(run)) == {'APReport'}

    @pytest.mark.parametrize('without', ['APReport', ['APReports']])
    def test_wrong_names_are_refused_with_the_right_ones(self, without):
        with pytest.raises(ConfigError, match=r'APReport.*must be a list of names out of FixedNormGuard'):
            SafetyHooks(without=without)


class TestScratchNorm:
    def test_a_neck_without_norms_is_reported_with_the_key_to_set(self, tmp_path):
        run = runner(tmp_path)
        run.train()
        (log,) = tmp_path.glob('*/*.log')
        assert "training may diverge where that of a ResNet does not. Set model.neck.norm_cfg=dict(type='BN')" in (
            log.read_text()
        )

    def test_names_the_wrapped_model_also_with_norms_at_the_levels(self):
        model = Detector(arch=dict(base='fishnet99', width=0.25, levels='norm_relu'), out_indices=(3,))
        (line,) = scratch_warnings(Wrapper(model))
        assert 'Set model.student.neck.norm_cfg=' in line and 'levels=' not in line  # they are set already
        assert "levels='norm_relu'" in next(scratch_warnings(Detector()))

    @pytest.mark.parametrize('norm_cfg', [dict(type='BN'), dict(type='GN', num_groups=4)])
    def test_with_a_norm_nothing_is_reported(self, norm_cfg):
        assert list(scratch_warnings(Detector(norm_cfg))) == []

    def test_with_loaded_weights_nothing_is_reported(self):
        model = Detector()
        seed(model.backbone)
        assert list(scratch_warnings(model)) == []
