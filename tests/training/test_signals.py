"""A run that a signal stops goes on as if there had been none."""

import os
import re
import signal
import time

import pytest
import torch
from run_logs import assert_same, log_of, wait_for_log


class TestSignals:
    def stop(self, forker, job, number, after, to_group=True):
        """Signals the trainer, or it and its workers, once the log has a line; returns the exit status."""
        (pid,) = forker.start(job)
        wait_for_log(job['work_dir'], lambda text: re.search(after, text))
        (os.killpg if to_group else os.kill)(pid, number)
        return forker.wait()[0]

    @pytest.mark.parametrize('number, loop', [(signal.SIGTERM, 'epoch'), (signal.SIGINT, 'iter')])
    def test_saves_and_the_rest_is_as_without(self, forker, tmp_path, number, loop):
        """The signal goes to the loader's workers too, as from a terminal or from Slurm."""
        job = dict(seed=5, loop=loop, epochs=3, iters=36, work_dir=str(tmp_path / 'parts'))
        job['checkpoint'] = dict(interval=1 if loop == 'epoch' else 15)
        status = self.stop(
            forker, dict(job, mischief=dict(seconds=0.2)), number, r'\[2\]\[ 4/12\]|\( ?16/36\)|\[16/36\]'
        )
        log = log_of(tmp_path / 'parts')
        assert status == 75, log[-3000:]
        assert re.search(r'Asked to stop: the checkpoint is .*interrupted.pth', log)
        assert forker.run(**job, resume=True) == [0], log_of(tmp_path / 'parts')[-3000:]
        assert forker.run(**{**job, 'work_dir': str(tmp_path / 'whole')}) == [0]
        name = 'epoch_3.pth' if loop == 'epoch' else 'iter_36.pth'
        ours, theirs = (torch.load(tmp_path / run / name, weights_only=True) for run in ('parts', 'whole'))
        for part in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers', 'loop'):
            assert_same(ours[part], theirs[part])

    def test_during_a_validation_it_stops_at_once_and_makes_up_for_it(self, forker, tmp_path):
        job = dict(seed=5, epochs=2, work_dir=str(tmp_path / 'run'), log_interval=1)
        slow = dict(job, mischief=dict(val_seconds=0.5))
        assert self.stop(forker, slow, signal.SIGTERM, r'Epoch\(val\) \[1\]\[ 2/12\]', to_group=False) == 75
        assert not (tmp_path / 'run/interrupted.pth').exists()
        assert forker.run(**job, resume=True) == [0]
        history = torch.load(tmp_path / 'run/epoch_2.pth', weights_only=True)['message_hub']['log_scalars']
        assert history['val/acc']['values'].numel() == 1  # of epoch 1; that of epoch 2 comes after its checkpoint

    def test_a_second_signal_ends_at_once(self, forker, tmp_path):
        job = dict(seed=5, epochs=2, workers=0, work_dir=str(tmp_path / 'run'), mischief=dict(seconds=30))
        (pid,) = forker.start(job)
        wait_for_log(job['work_dir'], lambda text: 'Checkpoints will be saved' in text)
        time.sleep(1)
        os.kill(pid, signal.SIGTERM)
        time.sleep(3.5)
        os.kill(pid, signal.SIGTERM)
        begun = time.monotonic()
        assert forker.wait() == [-signal.SIGTERM] and time.monotonic() - begun < 5
