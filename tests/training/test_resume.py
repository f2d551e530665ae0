"""A run that was killed and resumed is the run that never was: weights, optimizer, schedulers, random state, losses."""

import itertools
import json
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import REPO
from mmengine.dataset import DefaultSampler
from run_logs import assert_same, assert_same_run, log_of
from torch.utils.data import DataLoader, Sampler

from fishnet_mmdet import SeededBatches
from fishnet_mmdet.training.checkpoints.random_state import RandomState

BY_ITER = dict(by_epoch=False, interval=4)
QUICK = dict(seed=5, workers=0, validate=False, ema=False)


# what is run, the iteration before which it is killed, and the last checkpoint
MATRIX = {
    'epochs, at a boundary': (dict(), 26, 'epoch_4.pth'),
    'epochs, in the middle': (dict(checkpoint=BY_ITER, persistent=False), 26, 'iter_{}.pth'),
    'epochs, at the last batch of one': (dict(checkpoint=dict(by_epoch=False, interval=12)), 26, 'iter_{}.pth'),
    'iterations, endless sampler': (
        dict(loop='iter', checkpoint=BY_ITER, infinite=True, diff_rank_seed=True), 26, 'iter_36.pth',
    ),
    'iterations, sampler by epochs': (dict(loop='iter', checkpoint=BY_ITER, persistent=False), 18, 'iter_36.pth'),
    'no workers': (dict(checkpoint=BY_ITER, workers=0), 26, 'iter_{}.pth'),
    'saved again with a new best': (dict(checkpoint=dict(save_best='acc', rule='greater')), 26, 'epoch_4.pth'),
}  # fmt: skip
TWO_RANKS = list(MATRIX)[:2] + list(MATRIX)[3:5]
FAST = [(1, 'epochs, at a boundary'), (1, 'saved again with a new best'), (2, 'epochs, in the middle')]
CELLS = [(1, case) for case in MATRIX] + [(2, case) for case in TWO_RANKS]


@pytest.mark.parametrize(
    'ranks, case', [cell if cell in FAST else pytest.param(*cell, marks=pytest.mark.long) for cell in CELLS]
)
def test_resumed_equals_uninterrupted(forker, tmp_path, ranks, case):
    """SIGKILL before an iteration, then resume=True alone."""
    job, kill_at, last = MATRIX[case]
    if ranks == 2:
        kill_at = kill_at // 2  # an epoch has 6 iterations, not 12
    job = dict(job, seed=5, ranks=ranks, epochs=4, iters=36)
    last = last.format(48 if ranks == 1 else 24)
    assert forker.run(work_dir=str(tmp_path / 'whole'), **job) == [0] * ranks
    statuses = forker.run(work_dir=str(tmp_path / 'parts'), mischief=dict(die_at=kill_at), **job)
    assert set(statuses) <= {-9, 1} and -9 in statuses  # the other rank may see its peer gone first
    assert not (tmp_path / 'parts' / last).exists()
    assert forker.run(work_dir=str(tmp_path / 'parts'), resume=True, **job) == [0] * ranks, log_of(tmp_path / 'parts')
    assert 'resumed epoch' in log_of(tmp_path / 'parts')
    assert 'not exactly' not in log_of(tmp_path / 'parts')
    assert_same_run(tmp_path / 'parts', tmp_path / 'whole', last)


@pytest.mark.parametrize('kind', ['OwnRun', 'SkipsNothing', 'OwnIterator'])
def test_a_loop_with_its_own_run(forker, tmp_path, kind):
    """A subclass that does not call the `run` of the loop above it."""
    job = dict(QUICK, loop='iter', loop_type=kind, iters=16, checkpoint=BY_ITER)
    assert forker.run(work_dir=str(tmp_path / 'whole'), **job) == [0]
    assert forker.run(work_dir=str(tmp_path / 'parts'), mischief=dict(die_at=10), **job) == [-9]
    assert forker.run(work_dir=str(tmp_path / 'parts'), resume=True, **job) == [0], log_of(tmp_path / 'parts')
    ours, theirs = (torch.load(tmp_path / run / 'iter_16.pth', weights_only=True) for run in ('parts', 'whole'))
    for key in ('state_dict', 'optimizer', 'loop'):
        assert_same(ours[key], theirs[key])


def test_a_loop_with_its_own_epochs(forker, tmp_path):
    job = dict(QUICK, loop_type='OwnEpochs', epochs=2, checkpoint=BY_ITER)
    assert forker.run(work_dir=str(tmp_path / 'whole'), **dict(job, loop_type='ResumableEpochLoop')) == [0]
    assert forker.run(work_dir=str(tmp_path / 'parts'), mischief=dict(die_at=10), **job) == [-9]
    assert forker.run(work_dir=str(tmp_path / 'parts'), resume=True, **job) == [0], log_of(tmp_path / 'parts')
    ours, theirs = (torch.load(tmp_path / run / 'iter_24.pth', weights_only=True) for run in ('parts', 'whole'))
    assert ours['meta']['epoch'] == theirs['meta']['epoch']
    for key in ('state_dict', 'optimizer', 'loop'):
        assert_same(ours[key], theirs[key])


def test_without_a_seed_the_resumed_run_takes_up_the_first_ones(forker, tmp_path):
    job = dict(checkpoint=dict(BY_ITER, max_keep_ckpts=-1), epochs=3)
    assert forker.run(work_dir=str(tmp_path / 'whole'), **job) == [0]
    (tmp_path / 'parts').mkdir()
    (tmp_path / 'parts/iter_16.pth').write_bytes((tmp_path / 'whole/iter_16.pth').read_bytes())
    assert forker.run(work_dir=str(tmp_path / 'parts'), resume=True, **job) == [0]
    ours, theirs = (torch.load(tmp_path / run / 'iter_36.pth', weights_only=True) for run in ('parts', 'whole'))
    assert_same(ours['state_dict'], theirs['state_dict'])
    assert_same(ours['loop'], theirs['loop'])


@pytest.mark.long
def test_under_torchrun(tmp_path):
    """The same with the real launcher: stopped by SIGTERM to torchrun in mid-epoch, resumed."""
    job = dict(seed=5, checkpoint=dict(by_epoch=False, interval=100), epochs=3)
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    script = str(REPO / 'tests/tiny_run.py')

    def start(work_dir, **more):
        arguments = json.dumps({**job, **more, 'work_dir': str(tmp_path / work_dir)})
        return subprocess.Popen(
            [*command, script, arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=REPO,
        )

    def finish(process):
        log = process.communicate(timeout=200)[0]
        assert process.returncode == 0, log[-3000:]

    finish(start('whole'))
    parts = start('parts', mischief=dict(seconds=0.3))
    for line in parts.stdout:
        if 'Epoch(train) [2]' in line:
            parts.terminate()
            break
    rest = parts.communicate(timeout=120)[0]
    assert parts.returncode != 0 and 'Asked to stop' in rest, rest[-3000:]
    stopped = torch.load(tmp_path / 'parts/interrupted.pth', weights_only=True)
    assert 6 < stopped['meta']['iter'] < 18 and stopped['meta']['epoch'] == stopped['meta']['iter'] // 6
    finish(start('parts', resume=True))
    assert_same_run(tmp_path / 'parts', tmp_path / 'whole', 'iter_18.pth')


def test_another_number_of_processes_is_reported_and_goes_on(forker, tmp_path):
    job = dict(seed=5, checkpoint=BY_ITER, epochs=2)
    assert forker.run(work_dir=str(tmp_path / 'run'), ranks=2, mischief=dict(die_at=9), **job).count(-9)
    assert forker.run(work_dir=str(tmp_path / 'run'), resume=True, **job) == [0]
    assert 'not exactly' in log_of(tmp_path / 'run') and 'written by 2 processes' in log_of(tmp_path / 'run')


class TestRandomState:
    def test_come_back_from_tensors(self):
        def draw():
            return random.gauss(0, 1), np.random.randn(), float(torch.rand(1))

        for _ in range(2):  # with and without a second normal number kept back
            state = RandomState.from_tensors(RandomState.capture().to_tensors())
            first = [draw() for _ in range(3)]
            state.restore()
            assert first == [draw() for _ in range(3)]
            random.gauss(0, 1), np.random.randn()


class Drawn(torch.utils.data.Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, index):
        return index, float(torch.rand(1))


class TestSeededBatches:
    @staticmethod
    def drawn(epoch, position, workers=0, seed=7, **more):
        data = Drawn()
        batches = SeededBatches(DefaultSampler(data, seed=1), 3, seed=seed, **more)
        loader = DataLoader(data, batch_sampler=batches, num_workers=workers)
        batches.start(epoch, position)
        return [tuple(zip(*(part.tolist() for part in batch), strict=True)) for batch in loader]

    def test_a_place_tells_the_draws_not_who_loads(self):
        torch.manual_seed(1)
        whole = self.drawn(0, 0)
        torch.manual_seed(2)
        assert self.drawn(0, 0, workers=3) == whole and len(whole) == 4
        assert self.drawn(0, 2, workers=1) == whole[2:]
        assert self.drawn(0, 4) == []

    def test_every_sample_epoch_and_seed_draws_its_own(self):
        values = [v for epoch in range(3) for batch in self.drawn(epoch, 0) for _, v in batch]
        values += [v for batch in self.drawn(0, 0, seed=8) for _, v in batch]
        assert len(set(values)) == len(values) == 40

    def test_all_samples_of_an_epoch_once(self):
        assert sorted(i for batch in self.drawn(0, 0) for i, _ in batch) == list(range(10))
        assert len(self.drawn(0, 0, drop_last=True)) == 3

    def test_nothing_before_the_start_is_set(self):
        assert list(SeededBatches(DefaultSampler(Drawn(), seed=1), 3)) == []

    @pytest.mark.parametrize('endless', [False, True])
    def test_samplers_draw_from_a_random_state_of_their_own(self, endless):
        """As mmdet's GroupMultiSourceSampler draws. The loops restore the state of the model in between."""

        class Coins(Sampler):
            def __iter__(self):
                for _ in range(200):
                    yield int(np.random.choice(2)) + 2 * random.randrange(2) + 4 * int(torch.randint(2, ()))

        def drawn(first):
            batches = SeededBatches(Coins(), 4, seed=7, endless=endless)
            batches.start(3, first)
            state = RandomState.capture()
            for batch in itertools.islice(batches, 50 - first):
                assert np.array_equal(RandomState.capture().numpy[1], state.numpy[1])
                state.restore()
                yield list(batch.indices)

        whole = list(drawn(0))
        counts = np.bincount(np.ravel(whole), minlength=8)
        assert counts.sum() == 200 and counts.min() >= 10
        np.random.seed(99)
        assert list(drawn(20)) == whole[20:]

    def test_data_without_a_batch_are_reported(self):
        empty = SeededBatches(DefaultSampler(range(2), seed=1), 3, drop_last=True, endless=True)
        empty.start(0, 0)
        with pytest.raises(ValueError, match='2 images are left'):
            next(iter(empty))
