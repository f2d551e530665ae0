"""Going on where something is not as it was: folders, runs, processes, batches, and who gets the signals."""

import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from conftest import CONFIGS
from run_logs import assert_same, found, iteration_of, log_of, wait_for_log
from tiny_run import logged

from fishnet_mmdet.training.checkpoints.resume import folder_of

QUICK = dict(seed=5, workers=0, validate=False, ema=False)


class TestFolders:
    def test_a_run_in_the_folder_of_another(self, forker, tmp_path):
        """The second is killed after its first checkpoint: it goes on from there, not from where the first had come."""
        job = dict(QUICK, work_dir=str(tmp_path / 'run'), epochs=3, checkpoint=dict(max_keep_ckpts=-1))
        assert forker.run(**job) == [0]
        assert 'another run' not in log_of(tmp_path / 'run')
        assert forker.run(**{**job, 'seed': 6}, mischief=dict(die_at=14)) == [-signal.SIGKILL]
        log = log_of(tmp_path / 'run')
        assert 'holds checkpoints of another run: epoch_1.pth, epoch_2.pth, epoch_3.pth' in log
        assert forker.run(**{**job, 'seed': 6}, resume=True) == [0]
        assert 'resumed epoch: 1' in log_of(tmp_path / 'run')
        assert forker.run(**{**job, 'seed': 6, 'work_dir': str(tmp_path / 'alone')}) == [0]
        ours, theirs = (
            torch.load(tmp_path / name / 'epoch_3.pth', weights_only=True)['state_dict'] for name in ('run', 'alone')
        )
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)

    def test_a_copied_run_leaves_the_original_alone(self, forker, tmp_path):
        job = dict(seed=5, workers=0, epochs=2, checkpoint=dict(save_best='acc', rule='greater'))
        assert forker.run(work_dir=str(tmp_path / 'first'), **job) == [0]
        before = sorted(path.name for path in (tmp_path / 'first').glob('*.pth'))
        shutil.copytree(tmp_path / 'first', tmp_path / 'second')
        more = dict(job, epochs=8, resume=True)
        assert forker.run(work_dir=str(tmp_path / 'second'), **more) == [0]
        assert sorted(path.name for path in (tmp_path / 'first').glob('*.pth')) == before
        best = [[path.name for path in (tmp_path / run).glob('best_*')] for run in ('first', 'second')]
        assert len(best[0]) == len(best[1]) == 1 and best[0] != best[1]

    def test_an_interruption_takes_no_place_of_another_runs(self, forker, tmp_path):
        """Somebody forgot --resume and presses Ctrl-C: what the first run had come to is still there."""
        run = tmp_path / 'run'
        job = dict(QUICK, work_dir=str(run), epochs=1)
        assert forker.run(**job) == [0]
        newest = shutil.copy(run / 'epoch_1.pth', run / 'interrupted.pth').read_bytes()
        for resume in (False, True):  # what it replaces, the second time, is its own
            (pid,) = forker.start(
                {**job, 'epochs': 9, 'resume': resume, 'log_interval': 1, 'mischief': dict(seconds=0.1)}
            )
            times = 14 if not resume else 30
            wait_for_log(run, lambda text, times=times: text.count('Epoch(train)') >= times)
            os.kill(pid, signal.SIGINT)
            assert forker.wait() == [75], log_of(run)[-3000:]
            assert (run / 'interrupted.pth').read_bytes() == newest
        assert '--resume FILE resumes from one of another run (epoch_1.pth, interrupted.pth)' in log_of(run)
        assert sorted(path.name for path in run.glob('i*.pth')) == ['interrupted.pth', 'interrupted_2.pth']
        assert iteration_of(run / 'interrupted_2.pth') > 12

    def test_a_file_from_elsewhere_makes_nothing_here_its_own(self, forker, tmp_path):
        here, elsewhere = tmp_path / 'here', tmp_path / 'elsewhere'
        job = dict(seed=5, workers=0, checkpoint=dict(save_best='acc', rule='greater'))
        assert forker.run(**job, work_dir=str(here), epochs=3) == [0]
        assert forker.run(**job, work_dir=str(elsewhere), epochs=3) == [0]
        before = {path.name: path.read_bytes() for path in here.glob('*.pth')}
        file = f'fishnet-run://{elsewhere / "epoch_3.pth"}'
        assert forker.run(**job, work_dir=str(here), epochs=9, resume=True, load_from=file) == [0]
        assert 'holds checkpoints of another run: epoch_2.pth, epoch_3.pth' in log_of(here)
        after = {path.name: path.read_bytes() for path in here.glob('*.pth')}
        assert before.items() <= after.items() and {'epoch_8.pth', 'epoch_9.pth'} <= set(after)
        assert 'epoch_4.pth' not in after

    def test_processes_that_see_other_files_do_not_begin(self, forker, tmp_path):
        """Folders on disks of their own, or a stale view of a shared one."""
        job = dict(QUICK, work_dir=str(tmp_path / 'run'), ranks=2, own_disks=True)
        assert forker.run(**job, epochs=3) == [0, 0]
        shutil.copy(tmp_path / 'run0/epoch_2.pth', tmp_path / 'run1')
        (tmp_path / 'run1/last_checkpoint').write_text(str(tmp_path / 'run1/epoch_2.pth'))
        assert forker.run(**job, epochs=4, resume=True) == [1, 1]
        told = r'rank 0 from iteration 18 .*rank 1 from iteration 12 .*name a file with --resume FILE'
        assert re.search(told, log_of(tmp_path / 'run'))
        assert not (tmp_path / 'run0/epoch_4.pth').exists()

    def test_where_checkpoints_are(self, tmp_path):
        assert folder_of(tmp_path / 'run', None) == folder_of(tmp_path / 'run', tmp_path / 'run') == tmp_path / 'run'
        assert folder_of('a/run/', 'elsewhere') == Path('elsewhere/run')
        assert folder_of('.', None) == Path.cwd() and folder_of('.', '/x') == Path('/x') / Path.cwd().name

    def test_what_could_not_be_read_back_is_not_begun(self, forker, tmp_path):
        assert forker.run(work_dir=str(tmp_path / 'run'), plain=False, **QUICK) == [1]
        assert "add dict(type='PlainCheckpoints') to custom_hooks" in log_of(tmp_path / 'run')

    def test_files_of_stock_mmengine_are_reported_with_the_fix(self, forker, tmp_path):
        job = dict(QUICK, work_dir=str(tmp_path / 'run'))
        assert forker.run(**job, epochs=1, stock=True) == [0]
        assert forker.run(**job, epochs=2, resume=True) == [1]
        assert 'fishnet-mmdet plain-checkpoint' in log_of(tmp_path / 'run')

    def test_nothing_to_resume_begins_with_the_weights_that_the_config_names(self, run_tool, tmp_path):
        """A job that queues itself says --resume from the first time on."""
        flags = ['--work-dir', tmp_path / 'run', '--resume', '--cfg-options', 'load_from=/nowhere/coco.pth']
        done = run_tool('tools/train.py', CONFIGS / 'mask_rcnn_fishnet_demo.py', *flags)
        assert done.returncode == 1 and 'checkpoint not found: /nowhere/coco.pth' in done.stderr
        assert 'starts from /nowhere/coco.pth' in done.stdout

    @pytest.mark.parametrize(
        'flags, told',
        [
            (['--work-dir', '{0}/file/run'], '{0}/file/run cannot be written to, because of {0}/file'),
            (
                ['--work-dir', 'x/file', '--cfg-options', 'default_hooks.checkpoint.out_dir={0}'],
                '{0}/file cannot be written to, because of {0}/file: it is not a folder',
            ),
            (
                ['--resume', '--cfg-options', 'default_hooks.checkpoint.out_dir=s3://bucket/runs'],
                'name the checkpoint, as --resume ADDRESS',
            ),
        ],
        ids=['a file in the way', 'a file where checkpoints go', 'checkpoints far away'],
    )
    def test_a_folder_of_no_use_is_reported_first(self, run_tool, tmp_path, flags, told):
        (tmp_path / 'file').touch()
        flags = [flag.format(tmp_path) for flag in flags]
        done = run_tool('tools/train.py', CONFIGS / 'mask_rcnn_fishnet_demo.py', *flags, cwd=tmp_path)
        assert done.returncode == 1 and 'Traceback' not in done.stderr, done.stderr
        assert told.format(tmp_path) in done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ['file']


class TestAnotherLength:
    """Epochs have another number of iterations than when the run began: it goes on, to the end."""

    @pytest.mark.parametrize('ranks', [(1, 2), (2, 1)], ids=['more processes', 'fewer processes'])
    def test_of_other_processes(self, forker, tmp_path, ranks):
        before, after = ranks
        job = dict(QUICK, work_dir=str(tmp_path / 'run'), epochs=4, accumulate=2)
        job['checkpoint'] = dict(by_epoch=False, interval=5)
        killed = forker.run(**job, ranks=before, mischief=dict(die_at=13))
        assert killed == [-signal.SIGKILL] * before
        stopped = max(map(iteration_of, (tmp_path / 'run').glob('iter_*.pth')))
        length = 12 // before
        left = (4 - stopped // length) * 12 // after
        assert forker.run(**job, ranks=after, resume=True) == [0] * after, log_of(tmp_path / 'run')[-3000:]
        assert 'not exactly as it would have' in log_of(tmp_path / 'run')
        assert max(map(iteration_of, (tmp_path / 'run').glob('iter_*.pth'))) == stopped + left

    @pytest.mark.parametrize('accumulate', [1, 2])
    def test_of_another_batch(self, forker, tmp_path, accumulate):
        """The second time nothing changes any more, but the iterations behind are still of both lengths."""
        job = dict(QUICK, work_dir=str(tmp_path / 'run'), epochs=4, accumulate=accumulate)
        job['checkpoint'] = dict(by_epoch=False, interval=7)
        assert forker.run(**job, mischief=dict(die_at=38)) == [-signal.SIGKILL]
        job = dict(job, batch=4, resume=True)
        assert forker.run(**job, mischief=dict(die_at=44)) == [-signal.SIGKILL]
        log = log_of(tmp_path / 'run')
        assert 'an epoch had 12 batches, and now has 6; the learning rate of the checkpoint is kept' in log
        assert forker.run(**job) == [0], log_of(tmp_path / 'run')[-3000:]
        assert max(map(iteration_of, (tmp_path / 'run').glob('iter_*.pth'))) == 35 + 2 * 6

    def test_a_validation_that_was_killed_is_repeated(self, forker, tmp_path):
        job = dict(seed=5, workers=0, ema=False, epochs=1, work_dir=str(tmp_path / 'run'))
        (pid,) = forker.start(dict(job, mischief=dict(val_seconds=60)))
        deadline = time.monotonic() + 120
        while not (tmp_path / 'run/validating').exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
        assert forker.wait() == [-signal.SIGKILL] and not logged(tmp_path / 'run').get(('val', 1))
        assert forker.run(**job, batch=4, resume=True) == [0]
        assert 'not exactly' in log_of(tmp_path / 'run') and logged(tmp_path / 'run')['val', 1]

    def test_a_validation_that_was_not_killed_is_not(self, forker, tmp_path):
        """An epoch starts from its beginning; the one before was validated."""
        job = dict(seed=5, workers=0, ema=False, epochs=2, work_dir=str(tmp_path / 'run'))
        job['checkpoint'] = dict(by_epoch=False, interval=5)
        assert forker.run(**job, mischief=dict(die_at=16)) == [-signal.SIGKILL]
        assert forker.run(**job, batch=4, resume=True) == [0]
        assert len(re.findall(r'Epoch\(val\) \[1\].* acc:', log_of(tmp_path / 'run'))) == 1

    def test_half_a_gradient_is_reported(self, forker, tmp_path):
        job = dict(QUICK, work_dir=str(tmp_path / 'run'), accumulate=5)
        assert forker.run(**job, epochs=1) == [0]
        # The last iteration of a run steps with what it has; told to go on, it would have gone on gathering.
        assert forker.run(**job, epochs=2, resume=True) == [0]
        assert 'a gradient was being accumulated' in log_of(tmp_path / 'run')


class TestSignals:
    def test_to_every_process_of_the_job(self, forker, tmp_path):
        """As systemd and some schedulers do: workers must not die of it before the trainer has saved."""
        job = dict(seed=5, workers=2, epochs=3, work_dir=str(tmp_path / 'run'), mischief=dict(seconds=0.2))
        (pid,) = forker.start(job)
        wait_for_log(job['work_dir'], lambda text: re.search(r'\[1\]\[ 4/12\]', text))
        deadline = time.monotonic() + 60
        workers = [int(child) for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]
        assert len(workers) >= 2
        for number in (*workers, pid):
            os.kill(number, signal.SIGTERM)
        assert forker.wait() == [75], log_of(tmp_path / 'run')[-3000:]
        assert (tmp_path / 'run/interrupted.pth').is_file()
        while any(Path(f'/proc/{number}').exists() for number in workers):  # they look for it every 5 s
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def test_before_anything_is_trained(self, forker, tmp_path):
        (tmp_path / 'script.py').write_text(
            'import os, signal, time\n'
            'from fishnet_mmdet.training.stopping import nothing_to_save_yet\n'
            'with nothing_to_save_yet():\n'
            '    os.kill(os.getpid(), signal.SIGTERM)\n'
            '    time.sleep(30)'
        )
        done = forker.run_script(tmp_path / 'script.py', timeout=120)
        assert done.returncode == 75 and done.stderr.startswith('Asked to stop'), done.stderr


@pytest.mark.parametrize('best', [{}, dict(save_best='acc', rule='greater')])
def test_early_stopping_counts_across_a_kill(forker, tmp_path, best):
    """No validation is better by 10 than the first: the fourth ends the run. With `best`, files are saved after it."""
    hook = dict(type='EarlyStoppingHook', monitor='acc', rule='greater', min_delta=10, patience=3)
    job = dict(seed=5, workers=0, ema=False, epochs=9, hooks=[hook], checkpoint=best, work_dir=str(tmp_path / 'run'))
    assert forker.run(**job, mischief=dict(die_at=26)) == [-signal.SIGKILL]
    for _ in range(2):  # the second time, the run has stopped already
        assert forker.run(**job, resume=True) == [0], log_of(tmp_path / 'run')
        assert max(int(path.stem[6:]) for path in (tmp_path / 'run').glob('epoch_*.pth')) == 4


def test_an_average_that_is_switched_on_by_a_resume_in_two_processes(forker, tmp_path):
    """Their BN statistics are stored apart, and those of the averages are not there yet."""
    job = dict(seed=5, workers=0, ranks=2, validate=False, checkpoint=dict(by_epoch=False, interval=4))
    assert forker.run(**job, work_dir=str(tmp_path / 'run'), epochs=1, ema=False) == [0, 0]
    assert forker.run(**job, work_dir=str(tmp_path / 'run'), epochs=2, resume=True) == [0, 0], log_of(tmp_path / 'run')
    assert 'not exactly as it would have: the checkpoint holds' in log_of(tmp_path / 'run')


def test_hooks_that_take_batches_of_their_own(forker, tmp_path):
    """They move neither the place in the epoch that a checkpoint states, nor where a resume goes on."""
    job = dict(QUICK, epochs=2, checkpoint=dict(by_epoch=False, interval=4), hooks=[dict(type='Peek')])
    assert forker.run(work_dir=str(tmp_path / 'whole'), **job) == [0], log_of(tmp_path / 'whole')
    assert forker.run(work_dir=str(tmp_path / 'parts'), mischief=dict(die_at=10), **job) == [-signal.SIGKILL]
    assert forker.run(work_dir=str(tmp_path / 'parts'), resume=True, **job) == [0], log_of(tmp_path / 'parts')
    ours, theirs = (torch.load(tmp_path / run / 'iter_24.pth', weights_only=True) for run in ('parts', 'whole'))
    assert_same(ours['state_dict'], theirs['state_dict'])
    assert ours['loop']['batches_done'] == theirs['loop']['batches_done']


def test_without_a_validation_the_interval_of_validations_may_be_0(forker, tmp_path):
    job = dict(QUICK, work_dir=str(tmp_path / 'run'), val_interval=0)
    assert forker.run(**job, epochs=1) == [0] == forker.run(**job, epochs=2, resume=True)


def test_a_wrapper_of_the_config_keeps_its_settings_on_a_cpu(forker, tmp_path):
    wrapper = dict(type='MMDistributedDataParallel', find_unused_parameters=True)
    job = dict(QUICK, work_dir=str(tmp_path / 'run'), epochs=1, ranks=2, wrapper=wrapper)
    assert forker.run(**job) == [0, 0], log_of(tmp_path / 'run')


def test_a_checkpoint_of_another_ending_is_found_by_the_pointer(forker, tmp_path):
    run = tmp_path / 'run'
    job = dict(QUICK, work_dir=str(run), checkpoint=dict(filename_tmpl='ckpt_{}.pt'))
    assert forker.run(**job, epochs=2) == [0]
    shutil.copy(run / 'ckpt_1.pt', run / 'interrupted.pth')
    assert found(run) == run / 'ckpt_2.pt'
