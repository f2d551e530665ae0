"""Nothing lost: kills, full disks, damaged files. Real processes; what is injected is said where it is."""

import errno
import os
import random
import re
import shutil
import signal
import stat
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.fileio import get_file_backend
from mmengine.model import BaseModule
from mmengine.runner import Runner
from run_logs import Hostile, found, half_written, log_of

from fishnet_mmdet import DurableCheckpoints, PlainCheckpoints
from fishnet_mmdet.base.atomic import HALF_WRITTEN, write_atomically
from fishnet_mmdet.training.checkpoints.position import CheckpointError
from fishnet_mmdet.training.checkpoints.reader import read
from fishnet_mmdet.weights.errors import WeightsError

QUICK = dict(seed=5, workers=0, validate=False)


@pytest.fixture(scope='module')
def finished(forker, tmp_path_factory):
    """A run of two epochs, with both checkpoints."""
    work_dir = tmp_path_factory.mktemp('finished') / 'run'
    assert forker.run(work_dir=str(work_dir), epochs=2, **QUICK) == [0]
    return work_dir


@pytest.fixture
def run(finished, tmp_path):
    """A copy of it."""
    return shutil.copytree(finished, tmp_path / 'run')


class TestAtomicWrite:
    def test_modes_links_and_folders(self, tmp_path):
        before = os.umask(0o027)
        try:
            write_atomically(tmp_path / 'new/file', b'1')
        finally:
            os.umask(before)
        file = tmp_path / 'new/file'
        assert stat.S_IMODE(file.stat().st_mode) == 0o640
        file.chmod(0o604)
        (tmp_path / 'link').symlink_to(file)
        get_file_backend(backend_args=dict(backend='atomic')).put(b'2', tmp_path / 'link')
        assert (tmp_path / 'link').is_symlink() and file.read_bytes() == b'2'
        assert stat.S_IMODE(file.stat().st_mode) == 0o604
        assert not half_written(tmp_path / 'new')

    @pytest.mark.parametrize('point', ['open', 'fchmod', 'fsync', 'replace'])
    def test_a_failure_leaves_the_old_content(self, tmp_path, monkeypatch, point):
        file = tmp_path / 'file'
        file.write_bytes(b'old')

        def full(*arguments, **more):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(Path if point == 'open' else os, point, full)
        with pytest.raises(OSError, match='No space left') as caught:
            write_atomically(file, b'new' * 1000)
        monkeypatch.undo()
        assert caught.value.filename == str(file)
        assert file.read_bytes() == b'old' and not half_written(tmp_path)

    def test_a_file_system_that_cannot_sync_folders(self, tmp_path, monkeypatch):
        whole = os.fsync

        def picky(number):
            if stat.S_ISDIR(os.fstat(number).st_mode):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            whole(number)

        monkeypatch.setattr(os, 'fsync', picky)
        write_atomically(tmp_path / 'file', b'new')
        assert (tmp_path / 'file').read_bytes() == b'new'

    def test_a_single_checkpoint_is_refused(self):
        with pytest.raises(ValueError, match='at least 2'):
            DurableCheckpoints(interval=1, max_keep_ckpts=1)


@pytest.mark.parametrize(
    'given', [{}, dict(backend_args=dict(backend='local')), dict(file_client_args=dict(backend='disk'))]
)
def test_a_disk_is_written_atomically_by_whatever_name(tmp_path, given):
    hook = DurableCheckpoints(interval=1, **given)
    hook.before_run(SimpleNamespace(work_dir=str(tmp_path), cfg={}))
    assert (hook.backend_args, hook.file_client_args) == (dict(backend='atomic'), None)


def test_prepares_itself_on_a_runner_whose_optimizer_is_not_built(tmp_path):
    """As MMEngine's hook does. `Runner.train` builds it, and loops of others may do so later."""
    runner = Runner(
        model=BaseModule(),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=[0, 1], batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True)
        ),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        experiment_name=tmp_path.name,
    )
    runner.register_hook(PlainCheckpoints())
    hook = DurableCheckpoints(interval=1)
    hook.before_train(runner)
    try:
        assert hook.out_dir == str(tmp_path)
    finally:
        hook.after_train(runner)


class TestWhichCheckpoint:
    def test_the_latest_iteration_and_not_what_the_pointer_says(self, run):
        (run / 'last_checkpoint').write_text(str(run / 'epoch_1.pth'))
        assert found(run) == run / 'epoch_2.pth'
        os.utime(run / 'epoch_1.pth')
        assert found(run) == run / 'epoch_2.pth'

    def test_what_was_written_last_counts_more_than_iterations(self, run):
        """A run that started again in the same folder, or went back, has left later iterations behind."""
        content = torch.load(run / 'epoch_1.pth', weights_only=True)
        assert content['meta']['written'] < torch.load(run / 'epoch_2.pth', weights_only=True)['meta']['written']
        content['meta']['written'] += 1000
        torch.save(content, run / 'epoch_1.pth')
        assert found(run) == run / 'epoch_1.pth'

    @pytest.mark.parametrize('pointer', ['', '\0\0\0', '/nowhere/epoch_7.pth', None])
    def test_empty_stale_missing_pointers(self, run, pointer):
        (run / 'last_checkpoint').unlink()
        if pointer is not None:
            (run / 'last_checkpoint').write_text(pointer)
        assert found(run) == run / 'epoch_2.pth'

    def test_a_pointer_to_elsewhere_counts_only_where_nothing_else_is(self, run, tmp_path):
        moved = (run / 'epoch_2.pth').rename(tmp_path / 'elsewhere.pth')
        (run / 'last_checkpoint').write_text(str(moved))
        assert found(run) == run / 'epoch_1.pth'
        (run / 'epoch_1.pth').unlink()
        assert found(run) == moved

    @pytest.mark.parametrize('how', ['zero bytes', 'cut', 'zeros', 'a flipped bit', 'text', 'weights alone', 'hostile'])
    def test_a_damaged_newest_is_named_and_passed_over(self, run, how):
        file = run / 'epoch_2.pth'
        content = bytearray(file.read_bytes())
        if how == 'cut':
            content = content[: len(content) * 3 // 4]
        elif how == 'a flipped bit':  # in the weights: only the checksum can tell
            tensor = torch.load(file, weights_only=True)['state_dict']['layers.0.weight'].numpy().tobytes()
            content[content.index(tensor) + 3] ^= 4
        elif how == 'weights alone':
            torch.save(torch.load(file, weights_only=True)['state_dict'], file)
        elif how == 'hostile':
            torch.save(Hostile(run / 'executed'), file)
        if how in ('cut', 'a flipped bit', 'zero bytes', 'zeros', 'text'):
            small = {'zero bytes': b'', 'zeros': bytes(len(content)), 'text': b'<html>quota exceeded</html>'}
            file.write_bytes(small.get(how, content))
        before = file.read_bytes()
        told = []
        assert found(run, told.append) == run / 'epoch_1.pth'
        assert len(told) == 1 and str(file) in told[0] and 'Skipped' in told[0]
        assert file.read_bytes() == before and not (run / 'executed').exists()
        with pytest.raises(WeightsError, match='epoch_2.pth'):
            read(file)

    def test_when_it_was_written_is_no_way_to_break_the_search(self, run):
        content = torch.load(run / 'epoch_2.pth', weights_only=True)
        for odd in (10**400, float('nan'), 'now'):
            torch.save({**content, 'meta': {**content['meta'], 'written': odd}}, run / 'epoch_2.pth')
            assert found(run) == run / 'epoch_1.pth'

    def test_the_best_of_a_metric_is_none_to_go_on_from(self, run):
        shutil.copy(run / 'epoch_1.pth', run / 'best_acc_epoch_9.pth')
        assert found(run) == run / 'epoch_2.pth'

    def test_none_is_none_and_all_damaged_is_an_error(self, run, tmp_path):
        assert found(tmp_path) is None
        for name in ('epoch_1.pth', 'epoch_2.pth'):
            (run / name).write_bytes(b'')
        with pytest.raises(CheckpointError, match='(?s)no checkpoint that can be read.*epoch_1.pth.*epoch_2.pth'):
            found(run)

    def test_any_runner_with_the_hook_finds_it(self, forker, run):
        """As other people's train tools resume: resume=True, and MMEngine reads `last_checkpoint`."""
        (run / 'epoch_2.pth').write_bytes(b'')
        (run / 'last_checkpoint').write_bytes(b'')
        leftover = run / f'.epoch_2.pth.0123abcd{HALF_WRITTEN}'
        leftover.write_bytes(b'half')
        (run / '.epoch_2.pth.mine').write_bytes(b'of the user')
        assert forker.run(work_dir=str(run), epochs=2, resume=True, **QUICK) == [0]
        log = log_of(run)
        assert 'Skipped' in log and 'resumed epoch: 1' in log and str(leftover) in log
        assert not leftover.exists() and (run / '.epoch_2.pth.mine').exists()
        assert found(run) == run / 'epoch_2.pth'


class TestRetention:
    def test_two_stay_and_the_best(self, forker, tmp_path):
        job = dict(seed=5, workers=0, epochs=5, checkpoint=dict(save_best='acc', rule='greater'))
        assert forker.run(work_dir=str(tmp_path / 'run'), **job) == [0]
        names = sorted(file.name for file in (tmp_path / 'run').glob('*.pth'))
        assert names[1:] == ['epoch_4.pth', 'epoch_5.pth'] and re.fullmatch(r'best_acc_epoch_\d.pth', names[0])

    def test_an_old_one_goes_only_when_the_new_one_is_there(self, forker, run):
        """The third save fails: both others are still there."""
        job = dict(epochs=3, resume=True, mischief=dict(failing='fsync'), **QUICK)
        assert forker.run(work_dir=str(run), **job) == [1]
        assert sorted(file.name for file in run.glob('*.pth')) == ['epoch_1.pth', 'epoch_2.pth']

    def test_a_file_that_a_kill_left_over_is_removed_later(self, forker, run):
        """As if killed after epoch 3 was written and before epoch 1 was removed."""
        shutil.copy(run / 'epoch_1.pth', run / 'kept')
        assert forker.run(work_dir=str(run), epochs=3, resume=True, **QUICK) == [0]
        shutil.copy(run / 'kept', run / 'epoch_1.pth')
        assert forker.run(work_dir=str(run), epochs=4, resume=True, **QUICK) == [0]
        assert sorted(file.name for file in run.glob('*.pth')) == ['epoch_3.pth', 'epoch_4.pth']


INTERVAL = 3


@pytest.mark.parametrize('kills', [10, pytest.param(200, marks=pytest.mark.long)])
def test_killed_at_random_moments(forker, tmp_path, kills, capsys):
    """SIGKILL to a training that saves every 3 iterations, again and again, each time resumed unaided.

    After each kill: a loadable checkpoint not older than one interval, and no file that only piles up.
    """
    drawn = random.Random(kills)
    stands = {'iter': 0, 'epoch': 0}
    inside = writing = 0
    moments = []
    for trial in range(kills):
        loop = list(stands)[trial % 2]
        run = tmp_path / loop
        job = dict(
            seed=5, loop=loop, work_dir=str(run), resume=run.exists(), diary=True, validate=False, workers=trial % 3,
            width=60_000, iters=10**6, epochs=10**5, log_interval=50, ema=False,
            checkpoint=dict(by_epoch=False, interval=INTERVAL),
        )  # fmt: skip
        diary = run / 'diary'
        written = diary.stat().st_size if diary.exists() else 0
        (pid,) = forker.start(job)
        begun = time.monotonic()
        while trial % 8 and not (diary.exists() and diary.stat().st_size > written):  # an eighth die while starting
            assert time.monotonic() - begun < 120, log_of(run)[-2000:]
            time.sleep(0.01)
        time.sleep(drawn.uniform(0, 2))
        os.killpg(pid, signal.SIGKILL)
        assert forker.wait() == [-signal.SIGKILL], log_of(run)[-2000:]
        moments.append(time.monotonic() - begun)
        run.mkdir(exist_ok=True)  # the first may die before it has one

        lines = [line.split() for line in diary.read_bytes()[written:].decode().splitlines()] if diary.exists() else []
        if lines:
            assert int(lines[0][1]) == stands[loop]  # where it went on, unaided
        reached = max([stands[loop], *(int(number) for kind, number in lines if kind == 'i')])
        saved = max([stands[loop], *(int(number) for kind, number in lines if kind == 'e')])
        inside += bool(lines) and lines[-1][0] == 's'
        writing += bool(half_written(run))
        checkpoint = found(run, pytest.fail)
        stands[loop] = 0 if checkpoint is None else read(checkpoint).position.iteration
        assert stands[loop] >= saved and reached - stands[loop] <= INTERVAL, (reached, saved, stands)
        assert len(list(run.glob('*.pth'))) <= 3 and len(half_written(run)) <= 1
    with capsys.disabled():
        print(
            f'\n{kills} kills, {min(moments):.1f} to {max(moments):.1f} s after the start: {inside} inside a save, '
            f'{writing} of them with the file half written; iterations reached: {stands}'
        )
