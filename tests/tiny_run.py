"""A training of seconds with everything in it that a resume must not lose; fork_server.py runs it in real processes.

Loader workers whose transforms draw from Python, NumPy and torch; dropout; live BN with statistics of each rank;
momentum; schedulers by iteration and by epoch; averaged weights; a validation that draws too. Under torchrun:
`tests/tiny_run.py JOB`, with the job as JSON.
"""

import errno
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from pathlib import Path


def logged(work_dir):
    """What the runs in a folder logged: by iteration or epoch and name, without times; a later run's line counts."""
    lines = {}
    for file in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for line in map(json.loads, file.read_text().splitlines()):
            kind = 'val' if 'acc' in line else 'train'
            drop = ('time', 'data_time', 'memory', 'iter', 'epoch')
            lines[kind, line['step']] = {k: v for k, v in line.items() if k not in drop}
    return lines


def define():  # noqa: C901  (a module in a function)
    """Registers data and model: imports of torch and MMEngine stay out of the test process."""
    import numpy as np
    import torch
    from mmengine.dataset import BaseDataset
    from mmengine.evaluator import BaseMetric
    from mmengine.hooks import Hook
    from mmengine.model import BaseModel, Sequential
    from mmengine.registry import DATASETS, HOOKS, LOOPS, METRICS, MODELS
    from torch import nn

    from fishnet_mmdet.training.loops import ResumableEpochLoop, ResumableIterLoop

    @DATASETS.register_module()
    class TinyData(BaseDataset):
        """Numbers, augmented with draws from all three generators."""

        METAINFO = dict(classes=('a', 'b'))

        def load_data_list(self):
            return [dict(x=float(i)) for i in range(24)]

        def prepare_data(self, idx):
            drawn = torch.rand(6) + random.random() + torch.from_numpy(np.random.rand(6))
            if self.test_mode:
                drawn = torch.ones(6)
            return dict(inputs=(drawn + idx / 24).float(), target=torch.tensor(float(idx % 3)))

    @MODELS.register_module()
    class TinyModel(BaseModel):
        def __init__(self, width=16, init_cfg=None):
            super().__init__()
            hidden = [nn.Linear(6, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3)]
            self.layers = Sequential(*hidden, nn.Linear(width, 1), init_cfg=init_cfg)

        def forward(self, inputs, target, mode='tensor'):
            out = self.layers(torch.stack(inputs))[:, 0]
            if mode == 'loss':
                out = out + 0.01 * random.random() + 0.01 * np.random.rand()
            error = (out - torch.stack(target)) ** 2
            return dict(loss=error.mean(), loss_max=error.max()) if mode == 'loss' else [error]

    @LOOPS.register_module()
    class OwnRun(ResumableIterLoop):
        """A loop with its own `run`, after MMEngine's."""

        def run(self):
            self.runner.call_hook('before_train')
            self.runner.call_hook('before_train_epoch')
            for _ in range(self._iter):
                next(self.dataloader_iterator)
            while self._iter < self._max_iters:
                self.runner.model.train()
                self.run_iter(next(self.dataloader_iterator))
            self.runner.call_hook('after_train_epoch')
            self.runner.call_hook('after_train')

    @LOOPS.register_module()
    class SkipsNothing(ResumableIterLoop):
        """A `run` that takes the next batch of the iterator, on a resume too."""

        def batch(self):
            return next(self.dataloader_iterator)

        def run(self):
            self.runner.call_hook('before_train')
            self.runner.call_hook('before_train_epoch')
            self.runner.model.train()
            while self._iter < self._max_iters:
                self.run_iter(self.batch())
            self.runner.call_hook('after_train_epoch')
            self.runner.call_hook('after_train')

    @LOOPS.register_module()
    class OwnIterator(SkipsNothing):
        """A `run` that iterates over the loader itself."""

        def batch(self):
            self.own = getattr(self, 'own', None) or iter(self.dataloader)
            return next(self.own)

    @LOOPS.register_module()
    class OwnEpochs(ResumableEpochLoop):
        """A `run_epoch` of its own."""

        def run_epoch(self):
            self.runner.call_hook('before_train_epoch')
            self.runner.model.train()
            for idx, batch in enumerate(self.dataloader):
                self.run_iter(idx, batch)
            self.runner.call_hook('after_train_epoch')
            self._epoch += 1

    @METRICS.register_module()
    class TinyMetric(BaseMetric):
        def process(self, data_batch, data_samples):
            self.results += [float(e.sum()) for e in data_samples]

        def compute_metrics(self, results):
            random.random(), np.random.rand(), torch.rand(1)
            return dict(acc=-sum(results))

    @HOOKS.register_module()
    class Mischief(Hook):
        """Dies, or slows down, or runs out of disk at some iteration.

        Args:
            die_at: Iteration before which the process is killed.
            seconds: Before each iteration.
            val_seconds: Before each iteration of a validation.
            full_after: Bytes of a file after which the disk is full.
            failing: A function of `os` that fails as on a full disk.
        """

        priority = 'VERY_HIGH'

        def __init__(self, die_at=None, seconds=0.0, val_seconds=0.0, full_after=None, failing=None):
            self.die_at, self.seconds, self.val_seconds = die_at, seconds, val_seconds
            self.full_after, self.failing = full_after, failing

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.iter == self.die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(self.seconds)

        def before_val_iter(self, runner, batch_idx, data_batch=None):
            (Path(runner.work_dir) / 'validating').touch()
            time.sleep(self.val_seconds)

        def before_save_checkpoint(self, runner, checkpoint):
            if self.full_after is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (self.full_after, resource.RLIM_INFINITY))
            if self.failing is not None:
                setattr(os, self.failing, no_space)

    @HOOKS.register_module()
    class Peek(Hook):
        """Takes batches of its own, in the middle and at the end of an epoch, as hooks that compute BN again do."""

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if batch_idx == 2:
                next(iter(runner.train_dataloader))

        def after_train_epoch(self, runner):
            loader = runner.train_dataloader
            assert sum(1 for _ in loader) == len(loader) and loader.batch_size == 2

    @HOOKS.register_module()
    class Diary(Hook):
        """Writes down what happens, so that it outlives a SIGKILL: i, an iteration begins; s, a save; e, it ended."""

        priority = 'LOWEST'

        def before_train(self, runner):
            self.file = os.open(Path(runner.work_dir) / 'diary', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            self.saving = False
            os.write(self.file, f'i {runner.iter}\n'.encode())

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            os.write(self.file, f'i {runner.iter}\n'.encode())

        def before_save_checkpoint(self, runner, checkpoint):
            self.saving = True
            os.write(self.file, f's {checkpoint["meta"]["iter"]}\n'.encode())

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if self.saving:
                os.write(self.file, f'e {runner.iter + 1}\n'.encode())
            self.saving = False


def no_space(*arguments, **more):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def config(job):
    """The job as an MMEngine config."""
    by_epoch = job.get('loop', 'epoch') == 'epoch'
    sampler = dict(type='InfiniteSampler') if job.get('infinite') else dict(type='DefaultSampler', shuffle=True)
    loader = dict(
        batch_size=job.get('batch', 2),
        num_workers=job.get('workers', 2),
        persistent_workers=job.get('persistent', True) and job.get('workers', 2) > 0,
        dataset=dict(type='TinyData'),
        sampler=sampler,
    )
    val_loader = {
        **loader,
        'dataset': dict(type='TinyData', test_mode=True),
        'worker_init_fn': dict(type='isolate_worker_signals'),
        'sampler': dict(type='DefaultSampler', shuffle=False),
    }
    loop = job.get('loop_type', 'ResumableEpochLoop' if by_epoch else 'ResumableIterLoop')
    length = dict(max_epochs=job.get('epochs', 4)) if by_epoch else dict(max_iters=job.get('iters', 36))
    every = dict(val_interval=job.get('val_interval', 1 if by_epoch else 9))
    cfg = dict(
        model=dict(type='TinyModel', width=job.get('width', 16)),
        work_dir=job['work_dir'],
        experiment_name='tiny',
        train_dataloader=loader,
        train_cfg=dict(type=loop, **length, **every),
        val_dataloader=val_loader,
        val_cfg=dict(type='ValLoop'),
        val_evaluator=dict(type='TinyMetric'),
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.02, momentum=0.9),
            clip_grad=dict(max_norm=5.0),
            accumulative_counts=job.get('accumulate', 1),
        ),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=7),
            dict(type='MultiStepLR', by_epoch=by_epoch, milestones=[2, 3] if by_epoch else [11, 30]),
        ],
        default_hooks=dict(
            checkpoint=dict(
                type='DurableCheckpoints',
                **{'by_epoch': by_epoch, 'interval': 1, **job.get('checkpoint', {})},
            ),
            logger=dict(type='LoggerHook', interval=job.get('log_interval', 2)),
        ),
        custom_hooks=[
            *[dict(type='PlainCheckpoints')] * job.get('plain', True),
            dict(type='SyncBuffersHook'),
            dict(type='Mischief', **job.get('mischief', {})),
        ],
        randomness=dict(seed=job.get('seed'), diff_rank_seed=job.get('diff_rank_seed', False)),
        resume=job.get('resume', False),
        load_from=job.get('load_from'),
        env_cfg=dict(mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0), dist_cfg=dict(backend='gloo')),
        log_processor=dict(by_epoch=by_epoch),
        default_scope='mmengine',
    )
    if 'pretrained' in job:
        cfg['model']['init_cfg'] = dict(type='Pretrained', checkpoint=job['pretrained'], prefix='layers.')
    if 'strict_resume' in job:
        cfg['strict_resume'] = job['strict_resume']
    if job.get('stock'):
        cfg['train_cfg']['type'] = 'EpochBasedTrainLoop'
        cfg['default_hooks']['checkpoint']['type'] = 'CheckpointHook'
        cfg['custom_hooks'] = []
    if job.get('diary'):
        cfg['custom_hooks'].append(dict(type='Diary'))
    cfg['custom_hooks'] += job.get('hooks', [])
    if 'wrapper' in job:
        cfg['model_wrapper_cfg'] = job['wrapper']
    if not job.get('validate', True):
        cfg.update(val_dataloader=None, val_cfg=None, val_evaluator=None)
    if job.get('ema', True):
        cfg['custom_hooks'].append(dict(type='EMAHook', momentum=0.1, update_buffers=True))
    return cfg


def train(job, ranks):
    """Trains as a train tool does: errors of the user end in one line and status 1."""
    from mmengine.config import Config
    from mmengine.runner import Runner

    from fishnet_mmdet.base.errors import one_line_errors
    from fishnet_mmdet.training import launch
    from fishnet_mmdet.training.distributed import prepare_cpu_processes

    cfg = Config(config(job), filename=None)
    if job.get('own_disks'):
        cfg.work_dir += os.environ['RANK']
    if 'free' in job:
        usage = shutil.disk_usage(cfg.work_dir if Path(cfg.work_dir).exists() else '/')
        shutil.disk_usage = lambda path: usage._replace(free=job['free'])
    cfg.launcher = 'pytorch' if ranks > 1 else 'none'
    before = bytes_read()
    with one_line_errors():
        if job.get('tool'):
            launch.train(cfg, resume=job.get('from'), console='mmengine')
        else:
            prepare_cpu_processes(cfg)
            Runner.from_cfg(cfg).train()
    print('bytes read:', bytes_read() - before)


def bytes_read():
    """Bytes that this process has read from files, pipes and sockets so far."""
    line = Path('/proc/self/io').read_text().splitlines()[0]
    return int(line.removeprefix('rchar: '))


if __name__ == '__main__':
    # Under torchrun: one job.
    define()
    train(json.loads(sys.argv[1]), int(os.environ.get('WORLD_SIZE', 1)))
