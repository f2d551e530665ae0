"""Guards and checkpoints, hook by hook, with a runner as small as can be."""

from collections import OrderedDict
from enum import IntEnum
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from torch import nn

from fishnet_mmdet import EarlyClipping, FishNet, FixedNormGuard, NonFiniteLossGuard, PlainCheckpoints
from fishnet_mmdet.training.checkpoints import to_plain


def test_hooks_are_mmengines():
    assert all(
        issubclass(h, Hook) for h in (EarlyClipping, FixedNormGuard, NonFiniteLossGuard, PlainCheckpoints)
    )


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
        from test_fishnet import NARROW

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

    def test_learnt_statistics_pass_and_a_single_gap_is_told(self):
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


class TestNonFiniteLossGuard:
    RUNNER = SimpleNamespace(epoch=2, iter=41, optim_wrapper=SimpleNamespace(get_lr=lambda: {'lr': [0.02]}))

    @pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
    def test_names_iteration_rate_losses_and_images(self, value):
        samples = [SimpleNamespace(img_path='a.jpg'), SimpleNamespace(img_path='b.jpg')]
        outputs = {'loss': torch.tensor(value), 'loss_mask': torch.tensor(value), 'acc': torch.tensor(50.0)}
        with pytest.raises(FloatingPointError) as error:
            NonFiniteLossGuard().after_train_iter(self.RUNNER, 1, {'data_samples': samples}, outputs)
        for part in ('epoch 3', 'iteration 42', '0.02', 'loss_mask', 'a.jpg', 'b.jpg'):
            assert part in str(error.value)

    def test_finite_losses_pass(self):
        outputs = {'loss': torch.tensor(1.0), 'grad_norm': torch.tensor(float('inf'))}
        NonFiniteLossGuard().after_train_iter(self.RUNNER, 1, {}, outputs)


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
