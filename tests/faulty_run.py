"""A training run of seconds whose faults are chosen: `faulty_run.py WORK_DIR FAULT`. Not a test by itself.

One linear layer, sixteen images of four numbers, two epochs of two images a rank, a checkpoint after each epoch.
"""

import os
import sys
import time
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from mmengine.structures import BaseDataElement
from torch import nn

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.base.errors import one_line_errors
from fishnet_mmdet.training.distributed import leave_process_group
from fishnet_mmdet.training.launch import build_runner

FAULT = sys.argv[2]
BROKEN_ITERATION = 3
"""Counted from 1."""


def threads_left(patience=5):
    """Names of this process's threads, the main one's too. One that was joined may still be listed for a moment."""
    deadline = time.monotonic() + patience
    while True:
        names = [file.read_text().strip() for file in Path('/proc/self/task').glob('*/comm') if file.exists()]
        if len(names) == 1 or time.monotonic() > deadline:
            return names
        time.sleep(0.05)


def pause(name):
    """Leaves a mark with this process's id, and does nothing for much longer than any test waits."""
    write_atomically(Path(sys.argv[1], name), str(os.getpid()).encode())
    time.sleep(600)


class BrokenBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float('nan')


@DATASETS.register_module()
class Numbers(torch.utils.data.Dataset):
    metainfo = dict(classes=('one', 'two', 'three'))

    def __len__(self):
        return 16

    def __getitem__(self, index):
        numbers = torch.arange(4.0) + index
        if FAULT == 'image' and index == 5:
            numbers[2] = float('nan')
        if FAULT == 'worker sleeps' and get_rank() == 1:
            pause('ready')
        return dict(inputs=numbers, data_samples=BaseDataElement(metainfo=dict(img_path=f'{index:02}.jpg')))


@MODELS.register_module()
class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.head.num_classes = 4 if FAULT == 'classes' else 3
        self.iteration = 0

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if mode != 'loss':
            return [BaseDataElement() for _ in inputs]
        self.iteration += 1
        broken = self.iteration == BROKEN_ITERATION
        if broken and FAULT == 'weight':
            self.head.weight.data[1, 2] = float('inf')
        if broken and FAULT == 'exception' and get_rank() == 1:
            raise RuntimeError('a bad day on rank 1')
        if broken and FAULT == 'stuck':
            # The one to be killed waits inside an iteration, the other outside of any collective.
            pause(f'ready{get_rank()}')
        x = torch.stack(inputs)
        if broken and FAULT == 'rank' and get_rank() == 1:
            x = x * float('inf')
        out = self.head(x / 16)
        if broken and FAULT == 'gradient' and get_rank() == 1:
            out = BrokenBackward.apply(out)
        return dict(loss_line=out.square().mean())


@HOOKS.register_module()
class Overflow(Hook):
    """After the last step of the first epoch, a weight overflows."""

    def after_train_epoch(self, runner):
        if FAULT == 'step':
            model = getattr(runner.model, 'module', runner.model)
            model.head.bias.data[0] = float('inf')


@METRICS.register_module()
class SlowMetric(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += [1] * len(data_samples)

    def compute_metrics(self, results):
        if FAULT == 'long evaluation':
            sum(range(150_000_000))  # seconds during which no other thread of this process runs
        return dict(count=len(results))


if __name__ == '__main__':
    loader = dict(
        batch_size=2,
        num_workers=1 if FAULT == 'worker sleeps' else 0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(type='Numbers'),
    )
    cfg = Config(
        dict(
            default_scope='mmengine',
            model=dict(type='Line'),
            work_dir=sys.argv[1],
            launcher='pytorch' if 'RANK' in os.environ else 'none',
            train_cfg=dict(by_epoch=True, max_epochs=2),
            train_dataloader=loader,
            val_cfg=dict(),
            val_dataloader=loader,
            val_evaluator=dict(type='SlowMetric'),
            optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
            custom_hooks=[
                dict(type='NonFiniteGuard'),
                dict(type='ClassCountGuard'),
                dict(type='LostRankGuard', grace=3),
                dict(type='PlainCheckpoints'),
                dict(type='Overflow', priority='HIGHEST'),
            ],
        )
    )
    with one_line_errors():
        build_runner(cfg).train()
    leave_process_group()
    print('threads left:', *threads_left(), flush=True)
