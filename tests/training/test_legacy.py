"""Checkpoints of stock MMEngine: made plain without executing what is in them, and resumed.

For docs/reliability.md, which shows the whole command.
"""

import os
import pickle
import subprocess

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from run_logs import assert_same, log_of

from fishnet_mmdet.training.checkpoints.legacy import convert
from fishnet_mmdet.training.checkpoints.reader import read
from fishnet_mmdet.weights import reading
from fishnet_mmdet.weights.errors import WeightsError


def old_checkpoint(**more):
    """What stock MMEngine keeps beside the weights."""
    return {
        'meta': dict(epoch=1, iter=4, seed=3, dataset_meta=dict(classes=('a', 'b'))),
        'state_dict': dict(weight=torch.arange(6.0).reshape(2, 3)),
        'optimizer': dict(state={0: dict(momentum_buffer=torch.ones(2, 3))}, param_groups=[dict(lr=0.1, params=[0])]),
        'message_hub': dict(
            log_scalars={'train/loss': HistoryBuffer([1.0, 2.5], [1, 4], max_length=1000)},
            runtime_info=dict(
                best=np.float64(0.5), count=np.int64(3), curve=np.arange(6.0).reshape(2, 3), flag=np.bool_(1)
            ),
            resumed_keys={'train/loss': True},
        ),
        **more,
    }


class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def nested(trace):
    return {'deep': [(1, {'x': Calls(os.mkdir, str(trace))})]}


def in_itself():
    cycle = []
    cycle.append(cycle)
    return cycle


@pytest.mark.parametrize('reader', [read, reading.read], ids=['a resume', 'a test'])
def test_who_refuses_a_stock_checkpoint_names_the_command(tmp_path, reader):
    torch.save(old_checkpoint(), tmp_path / 'old.pth')
    with pytest.raises(WeightsError, match=f'`fishnet-mmdet plain-checkpoint {tmp_path / "old.pth"} NEW.pth`'):
        reader(tmp_path / 'old.pth')


class TestConvert:
    def test_says_the_same_plainly(self, tmp_path):
        torch.save(old_checkpoint(), tmp_path / 'old.pth')
        assert convert(tmp_path / 'old.pth', tmp_path / 'new.pth') == (1, 4, [])
        assert torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / 'new.pth') == []
        content, old = read(tmp_path / 'new.pth').content, old_checkpoint()
        for part in ('meta', 'state_dict', 'optimizer'):
            assert_same(content[part], old[part])
        history = content['message_hub']['log_scalars']['train/loss']
        assert history['values'].tolist() == [1.0, 2.5] and history['counts'].tolist() == [1, 4]
        assert history['max_length'] == 1000
        info = content['message_hub']['runtime_info']
        assert (info['best'], info['count'], info['flag']) == (0.5, 3, True)
        assert torch.equal(info['curve'], torch.arange(6.0, dtype=torch.float64).reshape(2, 3))

    @pytest.mark.parametrize(
        'content, named',
        [
            (lambda trace: nested(trace), 'posix.mkdir'),
            (lambda trace: {'y': Calls(eval, f'__import__("os").mkdir({str(trace)!r})')}, 'eval'),
            (lambda trace: {'y': Calls(getattr, os.path.join, '__globals__')}, 'getattr|join'),
            (lambda trace: {'y': Calls(getattr, HistoryBuffer, '__init__')}, 'call getattr'),
            (lambda trace: {'y': Calls(getattr, np.dtype, 'type')}, 'getattr'),
            (lambda trace: {'y': np.array([Calls(os.mkdir, str(trace))], dtype=object)}, 'dtype|mkdir'),
            (lambda trace: {'y': np.array(['text'])}, 'dtype'),
            (lambda trace: {'y': subprocess.Popen}, 'Popen'),
            (lambda trace: {'y': HistoryBuffer}, 'bare'),
        ],
    )
    def test_hostile_files_are_refused_by_name(self, tmp_path, content, named):
        torch.save(old_checkpoint(extra=content(tmp_path / 'executed')), tmp_path / 'old.pth')
        with pytest.raises(WeightsError, match=named):
            convert(tmp_path / 'old.pth', tmp_path / 'new.pth')
        assert not (tmp_path / 'executed').exists() and not (tmp_path / 'new.pth').exists()

    def test_an_array_that_claims_to_be_larger_than_it_is(self, tmp_path):
        class Claim:
            def __reduce__(self):
                function, arguments, state = np.arange(3.0).__reduce__()
                return function, arguments, (state[0], (2**40,), *state[2:])

        torch.save(old_checkpoint(extra=Claim()), tmp_path / 'old.pth')
        with pytest.raises(WeightsError):
            convert(tmp_path / 'old.pth', tmp_path / 'new.pth')

    @pytest.mark.parametrize(
        'more',
        [
            lambda: {'state_dict': {'w': HistoryBuffer([1.0], [1])}},
            lambda: {'extra': in_itself()},
            lambda: {'message_hub': {'log_scalars': HistoryBuffer([1.0], [1]), 'x': {HistoryBuffer: 1}}},
        ],
    )
    def test_odd_contents_are_reported(self, tmp_path, more):
        torch.save(old_checkpoint(**more()), tmp_path / 'old.pth')
        with pytest.raises(WeightsError, match='old.pth'):
            convert(tmp_path / 'old.pth', tmp_path / 'new.pth')
        assert not (tmp_path / 'new.pth').exists()

    @pytest.mark.parametrize('content', [b'', b'\0' * 5000, pickle.dumps({'a': 1}), b'<html></html>'])
    def test_what_is_no_checkpoint(self, tmp_path, content):
        (tmp_path / 'old.pth').write_bytes(content)
        with pytest.raises(WeightsError, match='old.pth'):
            convert(tmp_path / 'old.pth', tmp_path / 'new.pth')

    def test_a_target_that_is_there_stays(self, tmp_path):
        torch.save(old_checkpoint(), tmp_path / 'old.pth')
        for target in (tmp_path / 'old.pth', tmp_path / 'new.txt', tmp_path / 'none/new.pth'):
            with pytest.raises(WeightsError, match='must end in .pth'):
                convert(tmp_path / 'old.pth', target)

    def test_weights_alone_cannot_be_resumed(self, tmp_path):
        torch.save({'state_dict': {'w': torch.ones(1)}, 'meta': {}}, tmp_path / 'old.pth')
        with pytest.raises(WeightsError, match='load_from'):
            convert(tmp_path / 'old.pth', tmp_path / 'new.pth')


def test_a_run_of_stock_mmengine_goes_on(forker, tmp_path, run_tool):
    """Trained with MMEngine's own hook and loop; converted by the tool; resumed by ours, which says it is not exact."""
    job = dict(seed=5, workers=0, validate=False, work_dir=str(tmp_path / 'run'))
    assert forker.run(**job, epochs=1, stock=True) == [0], log_of(tmp_path / 'run')
    old = tmp_path / 'run/epoch_1.pth'
    assert torch.serialization.get_unsafe_globals_in_checkpoint(old)
    done = run_tool('tools/plain_checkpoint.py', old, tmp_path / 'plain.pth')
    assert done.returncode == 0 and 'epoch 1, iteration 12' in done.stdout, done.stderr
    old.unlink()
    (tmp_path / 'plain.pth').rename(tmp_path / 'run/plain.pth')
    assert forker.run(**job, epochs=2, resume=True) == [0], log_of(tmp_path / 'run')
    log = log_of(tmp_path / 'run')
    assert 'resumed epoch: 1, iter: 12' in log and 'holds no random state' in log
    histories = torch.load(tmp_path / 'run/epoch_2.pth', weights_only=True)['message_hub']['log_scalars']
    assert histories['train/loss']['values'].numel() == 24


def test_the_tool_says_what_is_wrong_in_one_line(tmp_path, run_tool):
    (tmp_path / 'old.pth').write_bytes(b'')
    done = run_tool('tools/plain_checkpoint.py', tmp_path / 'old.pth', tmp_path / 'new.pth')
    assert done.returncode == 1 and 'empty' in done.stderr and 'Traceback' not in done.stderr
