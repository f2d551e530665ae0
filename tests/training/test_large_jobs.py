"""docs/large-jobs.md: its tables follow from the recipe; its Slurm script queues again what can continue."""

import math
import os
import re
import subprocess
from types import SimpleNamespace

import pytest
from conftest import CONFIGS, REPO
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.runner._flexible_runner import FlexibleRunner

from fishnet_mmdet.training.launch import build_runner, read_config
from fishnet_mmdet.training.loops import ResumableEpochLoop
from fishnet_mmdet.training.workers import isolate_worker_signals

PAGE = (REPO / 'docs' / 'large-jobs.md').read_text()
IMAGES = 117_266
"""Of COCO train2017, those with objects; MMDetection leaves the others out."""


def table(heading):
    """Rows of the first table under a heading, as lists of numbers."""
    section = PAGE.split(f'## {heading}\n')[1].split('\n## ')[0]
    rows = re.findall(r'^\| *(\d.*) \|$', section, re.MULTILINE)
    return [[float(cell.replace(',', '')) for cell in re.findall(r'[\d.,]*\d', row)] for row in rows]


@pytest.fixture(scope='module')
def recipe():
    return Config.fromfile(CONFIGS / 'mask_rcnn_fishnet150_fpn.py')


def test_learning_rates_and_iterations(recipe):
    base, rate = recipe.auto_scale_lr.base_batch_size, recipe.optim_wrapper.optimizer.lr
    rows = table('Numbers for 1 to 64 GPUs')
    assert [row[0] for row in rows] == [1, 4, 8, 16, 64]
    for gpus, batch, scaled, iterations, *_ in rows:
        assert batch == gpus * recipe.train_dataloader.batch_size
        assert scaled == pytest.approx(rate * batch / base)
        assert iterations == math.ceil(IMAGES / batch)


def test_cost(recipe):
    images = recipe.train_cfg.max_epochs * IMAGES
    assert f'{images:,} images' in PAGE
    for speed, gpu_hours, hours in table("The cost of the paper's job"):
        assert gpu_hours == round(images / speed / 3600)
        assert hours == pytest.approx(images / speed / 3600 / 16, abs=0.05)


class TestSlurm:
    def run(self, tmp_path, status, **environment):
        """The script with srun and scontrol replaced; what they were called with, and how it ended."""
        (tmp_path / 'srun').write_text(f'#!/bin/sh\necho srun "$@"\nexit {status}\n')
        (tmp_path / 'scontrol').write_text('#!/bin/sh\necho scontrol "$@"\n')
        for name in ('srun', 'scontrol'):
            (tmp_path / name).chmod(0o755)
        environment = {**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'SLURM_JOB_ID': '17', **environment}
        command = [REPO / 'tools' / 'slurm_requeue.sh', 'c.py', '--auto-scale-lr']
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert 'fishnet_mmdet train c.py --auto-scale-lr --launcher slurm --resume' in done.stdout
        return done

    @pytest.mark.parametrize('status', [75, 137, 143, 69])
    def test_what_can_continue_is_queued_again(self, tmp_path, status):
        done = self.run(tmp_path, status)
        assert 'scontrol requeue 17' in done.stdout and done.returncode == 0

    @pytest.mark.parametrize('status', [0, 1, 2])
    def test_the_end_and_an_error_are_not(self, tmp_path, status):
        done = self.run(tmp_path, status)
        assert 'scontrol' not in done.stdout and done.returncode == status

    def test_not_for_ever(self, tmp_path):
        done = self.run(tmp_path, 137, SLURM_RESTART_COUNT='3', MAX_RESTARTS='3')
        assert 'scontrol' not in done.stdout and done.returncode == 137

    def test_usage(self):
        done = subprocess.run([REPO / 'tools' / 'slurm_requeue.sh'], capture_output=True, text=True)
        assert done.returncode == 2 and 'sbatch' in done.stdout and 'MAX_RESTARTS' in done.stdout


@pytest.mark.parametrize('runner', [Runner, FlexibleRunner])
def test_the_loader_of_the_loops_is_built_by_both_runners(runner):
    """MMEngine's strategies (FSDP, DeepSpeed, ...) need the second."""
    loader = dict(
        dataset=list(range(6)), sampler=dict(type='DefaultSampler', shuffle=True), batch_size=2, num_workers=0,
        disable_subprocess_warning=True,
    )  # fmt: skip
    seeded = ResumableEpochLoop._seeded(SimpleNamespace(endless=False), loader, 0)
    assert runner.build_dataloader(seeded, seed=0).worker_init_fn.func is isolate_worker_signals


def test_the_workers_of_validation_and_test_are_isolated_too(tmp_path):
    quiet = {f'{split}_dataloader.disable_subprocess_warning': True for split in ('train', 'val', 'test')}
    runner = build_runner(read_config('mask_rcnn_fishnet_demo', {'work_dir': str(tmp_path), **quiet}))
    for name in ('val_dataloader', 'test_dataloader'):
        assert runner.cfg[name].worker_init_fn == dict(type='isolate_worker_signals')
        assert 'disable_subprocess_warning' not in runner.cfg[name]
