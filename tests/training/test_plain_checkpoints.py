"""Checkpoints that hold plain values only, and which of them a resume loads weights from."""

from collections import OrderedDict
from enum import IntEnum
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.model import Sequential
from torch import nn

from fishnet_mmdet import PlainCheckpoints
from fishnet_mmdet.training.checkpoints.complete import CompleteResume
from fishnet_mmdet.training.checkpoints.plain import to_plain
from fishnet_mmdet.weights.reading import WeightsError


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
