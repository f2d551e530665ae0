"""Two real processes, one of which breaks: both end, soon, and say why. Each launched as Slurm does, or by torchrun."""

import os
import signal
import sys
import time
from contextlib import suppress

import pytest
import torch
import torch.distributed.run
from conftest import REPO
from fork_server import free_port

from fishnet_mmdet.base.startup import RANKS
from fishnet_mmdet.training.distributed import is_rank_zero
from fishnet_mmdet.training.guards.lost_rank import LOST_RANK, LostRankGuard

FAULTY_RUN = REPO / 'tests' / 'faulty_run.py'


class Pair:
    """Two ranks of `faulty_run.py`, with nobody above them who would end the one when the other dies."""

    def __init__(self, forker, folder, fault):
        self.forker, self.folder = forker, folder
        self.outputs = [folder.with_name(f'{folder.name}.{rank}.log') for rank in (0, 1)]
        common = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(free_port()), WORLD_SIZE='2')
        self.pids = [
            forker.start_script(
                FAULTY_RUN, folder, fault, env={**common, 'RANK': str(rank), 'LOCAL_RANK': str(rank)}, output=output
            )
            for rank, output in enumerate(self.outputs)
        ]

    def wait_for(self, name):
        deadline = time.monotonic() + 180
        while not (self.folder / name).is_file():
            assert time.monotonic() < deadline, f'{name} was never written'
            time.sleep(0.1)

    def end(self, timeout=180):
        """Exit statuses and what was said, by rank."""
        statuses = self.forker.wait_for(self.pids, timeout)
        return statuses, [output.read_text() for output in self.outputs]


@pytest.fixture
def pair(forker, tmp_path):
    pairs = []

    def start(fault):
        pairs.append(Pair(forker, tmp_path, fault))
        return pairs[-1]

    yield start
    for pid in [pid for each in pairs for pid in each.pids]:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


class TestNonFinite:
    def test_an_image_of_one_rank(self, pair, tmp_path):
        """It is named by both ranks, the other rank's images by none, and nothing is written."""
        status, said = pair('image').end()
        assert status == [1, 1], said
        for text in said:
            assert 'error: non-finite loss in epoch 1, iteration 2, at learning rate 0.01' in text, text
            assert 'Traceback' not in text
            assert 'rank 1: loss = nan, loss_line = nan. Images: 05.jpg, 07.jpg' in text
            assert 'rank 0:' not in text and 'All weights are finite' in text
        assert not list(tmp_path.glob('*.pth'))
        (log,) = tmp_path.glob('*/*.log')
        assert '05.jpg' in log.read_text()

    def test_a_gradient_of_one_rank(self, pair):
        """Gradients are shared, so every rank's images are named; the weights are as before the step."""
        status, said = pair('gradient').end()
        assert status == [1, 1], said
        for text in said:
            assert 'non-finite gradient of finite losses in epoch 1, iteration 3' in text, text
            for image in ('08.jpg', '10.jpg', '09.jpg', '11.jpg', 'All weights are finite'):
                assert image in text

    def test_weights_after_the_last_step(self, pair, tmp_path):
        """Rank 0 alone looks at what it writes; the other rank ends with it."""
        status, said = pair('step').end()
        assert status[0] == 1 and status[1] != 0, said
        assert 'no checkpoint is written in epoch 1' in said[0] and 'head.bias' in said[0]
        assert not list(tmp_path.glob('*.pth'))


class TestLostRank:
    @pytest.mark.parametrize('victim', [0, 1])
    def test_a_killed_rank_ends_one_that_waits_for_nothing(self, pair, victim):
        """The survivor sleeps for ten minutes outside of any collective: only the line can tell it."""
        two = pair('stuck')
        two.wait_for('ready0'), two.wait_for('ready1')
        start = time.monotonic()
        os.kill(two.pids[victim], signal.SIGKILL)
        status, said = two.end()
        assert status[victim] == -signal.SIGKILL and status[1 - victim] == LOST_RANK, said
        assert f'rank {victim} on ' in said[1 - victim] and 'has ended before the run was over' in said[1 - victim]
        assert time.monotonic() - start < 60

    def test_loader_workers_do_not_keep_a_dead_rank_alive(self, pair):
        """A worker of the killed rank sleeps on, and inherited every connection."""
        two = pair('worker sleeps')
        two.wait_for('ready')
        worker = int((two.folder / 'ready').read_text())
        os.kill(two.pids[1], signal.SIGKILL)
        try:
            status, said = two.end(timeout=60)
            os.kill(worker, 0)  # still there
        finally:
            os.kill(worker, signal.SIGKILL)
        assert status[0] != 0
        assert 'rank 1 on ' in said[0]

    def test_an_exception_on_one_rank(self, pair):
        status, said = pair('exception').end()
        assert status[1] == 1 and 'a bad day' in said[1]
        assert status[0] != 0 and 'rank 1 on ' in said[0]

    @pytest.mark.long
    def test_a_busy_rank_is_not_a_dead_one(self, pair, tmp_path):
        """Rank 0 computes for seconds without letting any other thread run, while rank 1 waits."""
        status, said = pair('long evaluation').end()
        assert status == [0, 0], said
        assert 'has ended' not in said[0] + said[1]
        assert (tmp_path / 'epoch_2.pth').is_file()

    def test_a_grace_below_zero(self):
        with pytest.raises(ValueError, match='grace = -1'):
            LostRankGuard(grace=-1)


def test_torchrun_ends_with_the_reason(forker, tmp_path):
    """One message of each rank, and no traceback but torchrun's own."""
    flags = ('--standalone', '--nproc_per_node=2')
    done = forker.run_script(torch.distributed.run.__file__, *flags, FAULTY_RUN, tmp_path, 'rank')
    assert done.returncode != 0
    assert 'iteration 3' in done.stderr and 'rank 1: loss = ' in done.stderr and '09.jpg, 11.jpg' in done.stderr
    assert done.stderr.count('error: non-finite loss') >= 1 and 'faulty_run.py", line' not in done.stderr


def test_a_sound_run_of_two_leaves_sound_weights(pair, tmp_path):
    status, said = pair('none').end()
    assert status == [0, 0], said
    weights = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)['state_dict']
    assert all(value.isfinite().all() for value in weights.values())
    for text in said:
        assert 'has ended' not in text
        # A thread of gloo's that outlives the run may abort the process as it exits.
        assert 'threads left: python\n' in text, text[-500:]


@pytest.mark.parametrize('name', RANKS)
def test_the_rank_is_known_before_there_is_a_process_group(name, monkeypatch):
    for each in RANKS:
        monkeypatch.delenv(each, raising=False)
    assert is_rank_zero()
    for rank in (0, 1):
        monkeypatch.setenv(name, str(rank))
        assert is_rank_zero() == (rank == 0)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason='Python has no such fault')
def test_a_fork_beside_a_process_group_lets_its_threads_settle(monkeypatch):
    """As the fork of a loader worker, which else may wait for ever: cpython#112275."""
    waited = []
    monkeypatch.setattr(time, 'sleep', waited.append)
    for has_group in (False, True):
        monkeypatch.setattr(torch.distributed, 'is_initialized', lambda has_group=has_group: has_group)
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
    assert waited == [0.02]
