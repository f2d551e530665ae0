"""A checkpoint that cannot be written: a full disk at each point of the write."""

import re
import shutil
import subprocess

import pytest
from run_logs import found, half_written, log_of

QUICK = dict(seed=5, workers=0, validate=False)


def check_full_disk(forker, run, mischief):
    """The next save fails: one line says so, the last good file is intact and named, and the run can go on."""
    before = {file.name: file.read_bytes() for file in run.glob('*.pth')}
    assert forker.run(work_dir=str(run), epochs=3, resume=True, mischief=mischief, **WIDE) == [1], log_of(run)[-2000:]
    last = log_of(run).splitlines()[-1]
    assert re.match(r'error: .*epoch_3.pth could not be written: (No space left|File too large)', last), last
    assert f'The last good checkpoint is {run / "epoch_2.pth"}' in last and '--resume' in last
    assert {file.name: file.read_bytes() for file in run.glob('*.pth')} == before
    assert not half_written(run)


WIDE = dict(QUICK, width=5000, ema=False)


BYTE_POINTS = 18


EVERY_DAY = (0, 9, 17)


POINTS = [
    *(point if point in EVERY_DAY else pytest.param(point, marks=pytest.mark.long) for point in range(BYTE_POINTS)),
    'fsync',
    'replace',
]


class TestFullDisk:
    @pytest.fixture(scope='class')
    def wide(self, forker, tmp_path_factory):
        """A run of two epochs whose checkpoints are large beside its logs."""
        work_dir = tmp_path_factory.mktemp('wide') / 'run'
        assert forker.run(work_dir=str(work_dir), epochs=2, **WIDE) == [0]
        return work_dir

    @pytest.mark.parametrize('point', POINTS)
    def test_at_a_point_of_the_write(self, forker, wide, tmp_path, point):
        """18 points of the bytes, by the kernel's own limit (RLIMIT_FSIZE), and 2 system calls that fail (injected).

        The logs of the run are files too and must fit under the limit: the first point is just above their size.
        """
        run = shutil.copytree(wide, tmp_path / 'run')
        logs, size = 40_000, (run / 'epoch_2.pth').stat().st_size
        if point in range(BYTE_POINTS):
            check_full_disk(forker, run, dict(full_after=logs + (size - 1000 - logs) * point // (BYTE_POINTS - 1)))
        else:
            check_full_disk(forker, run, dict(failing=point))

    def test_on_a_small_disk(self, forker, wide, tmp_path):
        """ENOSPC by a file system of its own, where this machine lets us mount one."""
        disk = tmp_path / 'disk'
        disk.mkdir()
        size = (wide / 'epoch_2.pth').stat().st_size
        if subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size * 5 // 2}', 'none', disk]).returncode:
            pytest.skip('mounting needs root')
        try:
            run = shutil.copytree(wide, disk / 'run')
            job = dict(WIDE, epochs=3, resume=True, free=10**12)  # past the check at the start
            assert forker.run(work_dir=str(run), **job) == [1]
            last = log_of(run).splitlines()[-1]
            assert 'No space left' in last and f'last good checkpoint is {run / "epoch_2.pth"}' in last
            assert found(run) == run / 'epoch_2.pth' and not half_written(run)
        finally:
            subprocess.run(['umount', disk], check=True)

    def test_too_little_room_is_reported_before_training(self, forker, tmp_path):
        work_dir = tmp_path / 'run'
        assert forker.run(work_dir=str(work_dir), free=4_000_000, epochs=9, **WIDE) == [1]
        last = log_of(work_dir).splitlines()[-1]
        assert '0.00 GiB free' in last and '3 checkpoints of about' in last and 'max_keep_ckpts' in last
        assert not list(work_dir.glob('*.pth'))
