"""Two real processes, one of which breaks: both end, soon, and say why. Each launched as Slurm does, or by torchrun."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch
from conftest import REPO

from fishnet_mmdet.training.guards.lost_rank import LOST_RANK, LostRankGuard

TINY_RUN = str(REPO / 'tests' / 'faulty_run.py')


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as server:
        return server.getsockname()[1]


class Pair:
    """Two ranks of `faulty_run.py`, with nobody above them who would end the one when the other dies."""

    def __init__(self, folder, fault):
        self.folder = folder
        common = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(free_port()), WORLD_SIZE='2', OMP_NUM_THREADS='1')
        self.ranks = [
            subprocess.Popen(
                [sys.executable, TINY_RUN, str(folder), fault],
                env={**os.environ, **common, 'RANK': str(rank), 'LOCAL_RANK': str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in (0, 1)
        ]

    def wait_for(self, name):
        deadline = time.monotonic() + 180
        while not (self.folder / name).is_file():
            assert time.monotonic() < deadline, f'{name} was never written'
            time.sleep(0.1)

    def end(self, timeout=180):
        """Exit statuses and what was said, by rank."""
        said = [rank.communicate(timeout=timeout)[0] for rank in self.ranks]
        return [rank.returncode for rank in self.ranks], said


@pytest.fixture
def pair(tmp_path):
    pairs = []

    def start(fault):
        pairs.append(Pair(tmp_path, fault))
        return pairs[-1]

    yield start
    for process in [rank for each in pairs for rank in each.ranks]:
        process.kill()
        process.stdout.close()
        process.wait()


class TestNonFinite:
    def test_an_image_of_one_rank(self, pair, tmp_path):
        """It is named by both ranks, the other rank's images by none, and nothing is written."""
        status, said = pair('image').end()
        assert status == [1, 1], said
        for text in said:
            assert 'non-finite loss in epoch 1, iteration 2, at learning rate 0.01' in text, text
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
        os.kill(two.ranks[victim].pid, signal.SIGKILL)
        status, said = two.end()
        assert status[victim] == -signal.SIGKILL and status[1 - victim] == LOST_RANK, said
        assert f'rank {victim} on ' in said[1 - victim] and 'has ended before the run was over' in said[1 - victim]
        assert time.monotonic() - start < 60

    def test_loader_workers_do_not_keep_a_dead_rank_alive(self, pair):
        """A worker of the killed rank sleeps on, and inherited every connection."""
        two = pair('worker sleeps')
        two.wait_for('ready')
        worker = int((two.folder / 'ready').read_text())
        os.kill(two.ranks[1].pid, signal.SIGKILL)
        try:
            two.ranks[0].wait(timeout=60)
            os.kill(worker, 0)  # still there
        finally:
            os.kill(worker, signal.SIGKILL)
        assert two.ranks[0].returncode != 0
        assert 'rank 1 on ' in two.ranks[0].stdout.read()

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


def test_torchrun_ends_with_the_reason(tmp_path):
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    done = subprocess.run(
        [*command, TINY_RUN, str(tmp_path), 'rank'],
        capture_output=True, text=True, timeout=180, env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )  # fmt: skip
    assert done.returncode != 0
    assert 'iteration 3' in done.stderr and 'rank 1: loss = ' in done.stderr and '09.jpg, 11.jpg' in done.stderr


def test_a_sound_run_of_two_leaves_sound_weights(pair, tmp_path):
    status, said = pair('none').end()
    assert status == [0, 0], said
    weights = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)['state_dict']
    assert all(value.isfinite().all() for value in weights.values())
    for text in said:
        assert 'has ended' not in text
        # A thread of gloo's that outlives the run may abort the process as it exits.
        assert 'threads left: python\n' in text, text[-500:]
