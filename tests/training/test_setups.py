"""Set-ups of MMEngine beside training by a tool: objects without a config, a validation alone, changed schedules."""

import json
import logging
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader, Dataset

from fishnet_mmdet import APReport, DurableCheckpoints, EarlyClipping, PlainCheckpoints
from fishnet_mmdet.training.checkpoints.position import CheckpointError


class Numbers(Dataset):
    """Eight samples."""

    metainfo = dict(classes=('a', 'b'))

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.full((3,), index / 8)


class Linear(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, inputs, mode='tensor'):
        out = self.layer(inputs if isinstance(inputs, torch.Tensor) else torch.stack(inputs)).mean()
        return dict(loss=out**2) if mode == 'loss' else [out]


class Score(BaseMetric):
    default_prefix = 'coco'

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return dict(bbox_mAP=0.25)


class Diary(Hook):
    """Notes after each iteration whether gradients were clipped."""

    priority = 'LOWEST'

    def __init__(self):
        self.clipped = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.clipped.append(runner.optim_wrapper.clip_grad_kwargs is not None)


def loader():
    # Wrapped, for MMEngine's preprocessor hands a batch on as keyword arguments.
    return dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=True),
        dataset=Numbers(),
        collate_fn=lambda samples: dict(inputs=torch.stack(samples)),
    )


BY_EPOCH = dict(type='ResumableEpochLoop', max_epochs=2, val_interval=1)
BY_ITER = dict(type='ResumableIterLoop', max_iters=8, val_interval=8)


def runner(work_dir, train_cfg=BY_EPOCH, saving=None, hooks=(), **kwargs):
    """A runner of objects, without a config."""
    by_epoch = 'max_epochs' in train_cfg
    parts = dict(
        model=Linear(),
        train_dataloader=loader(),
        train_cfg=dict(train_cfg),
        val_dataloader=loader(),
        val_cfg=dict(),
        val_evaluator=[Score()],
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        default_hooks=dict(checkpoint=dict(type='DurableCheckpoints', interval=1, by_epoch=by_epoch, **(saving or {}))),
        custom_hooks=[PlainCheckpoints(), APReport(), *hooks],
        experiment_name=f'{Path(work_dir).name}-{len(list(Path(work_dir).glob("*")))}',
        log_level='WARNING',
    )
    return Runner(work_dir=str(work_dir), default_scope='mmengine', **{**parts, **kwargs})


@pytest.fixture
def warnings(caplog):
    """Text of the warnings of MMEngine's loggers, which do not propagate."""

    def text(run):
        run.logger.addHandler(caplog.handler)
        run.train()
        lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        return '\n'.join(line for line in lines if 'FileClient' not in line)

    return text


def labels(work_dir):
    return [row['label'] for row in json.loads((work_dir / 'ap_val.json').read_text())['measured']]


class TestOfObjects:
    def test_trains_validates_and_reports(self, tmp_path):
        runner(tmp_path).train()
        assert labels(tmp_path) == ['epoch 1', 'epoch 2'] and (tmp_path / 'epoch_2.pth').is_file()

    def test_loader_is_an_object(self, tmp_path):
        """MMEngine's own loop takes one; ours builds its loader itself."""
        ready = DataLoader(Numbers(), batch_size=2, collate_fn=lambda samples: dict(inputs=torch.stack(samples)))
        train_cfg = dict(BY_EPOCH, type=EpochBasedTrainLoop)
        runner(tmp_path, train_cfg, train_dataloader=ready, val_dataloader=ready).train()
        assert (tmp_path / 'epoch_2.pth').is_file()


class TestValidationAlone:
    @pytest.mark.parametrize('save_best', [None, 'coco/bbox_mAP'])
    def test_builds_no_training_loop(self, tmp_path, save_best):
        run = runner(tmp_path, dict(BY_EPOCH, type='NoSuchLoop'), dict(save_best=save_best, rule='greater'))
        assert run.val() == {'coco/bbox_mAP': 0.25}
        assert labels(tmp_path) == ['this model'] and not list(tmp_path.glob('*.pth'))

    def test_after_a_training(self, tmp_path):
        runner(tmp_path).train()
        run = runner(tmp_path, load_from=str(tmp_path / 'epoch_1.pth'))
        run.val()
        assert labels(tmp_path) == ['epoch 1', 'epoch 2', 'this model']
        runner(tmp_path, dict(BY_EPOCH, max_epochs=3), resume=True, load_from=str(tmp_path / 'epoch_2.pth')).train()
        assert labels(tmp_path) == ['epoch 1', 'epoch 2', 'epoch 3']


class TestBestFigure:
    """Of metrics that the checks before a run do not know."""

    @pytest.mark.parametrize('key', ['coco/segm_mAP', ['coco/bbox_mAP', 'bbox_mAP']])
    def test_names_the_figures_there_are(self, tmp_path, key):
        with pytest.raises(CheckpointError, match='bbox_mAP: no such figure|segm_mAP: no such figure') as error:
            runner(tmp_path, saving=dict(save_best=key, rule='greater')).train()
        assert 'gives coco/bbox_mAP' in str(error.value) and (tmp_path / 'epoch_1.pth').is_file()

    def test_auto_without_a_rule(self, tmp_path):
        class Odd(Score):
            def compute_metrics(self, results):
                return dict(oddity=1.0)

        with pytest.raises(CheckpointError, match="rule='greater'"):
            runner(tmp_path, saving=dict(save_best='auto'), val_evaluator=[Odd()]).train()

    @pytest.mark.parametrize('key', ['auto', 'coco/bbox_mAP'])
    def test_saved(self, tmp_path, key):
        runner(tmp_path, saving=dict(save_best=key)).train()
        assert (tmp_path / 'best_coco_bbox_mAP_epoch_1.pth').is_file()


class TestPositions:
    def test_arguments_by_position_as_mmengines(self, tmp_path):
        hook = DurableCheckpoints(2, False, False, False, tmp_path, 3, False, 'acc', 'greater')
        assert (hook.interval, hook.by_epoch, hook.save_optimizer, hook.save_param_scheduler) == (
            2,
            False,
            False,
            False,
        )
        assert (hook.out_dir, hook.keep, hook.save_last, hook.save_best) == (tmp_path, 3, False, ['acc'])
        assert DurableCheckpoints(2).keep == 2


class TestEarlyClipping:
    """Four batches an epoch, two epochs."""

    @pytest.mark.parametrize('train_cfg', [BY_EPOCH, BY_ITER, dict(by_epoch=False, max_iters=8)])
    @pytest.mark.parametrize('epochs', [0, 1, 3])
    def test_clips_in_the_first_epochs(self, tmp_path, train_cfg, epochs):
        diary = Diary()
        wrapper = dict(optimizer=dict(type='SGD', lr=0.1), clip_grad=dict(max_norm=1.0))
        hooks = [EarlyClipping(epochs), diary]
        run = runner(tmp_path, train_cfg, hooks=hooks, optim_wrapper=wrapper)
        run.train()
        first = min(4 * epochs, 8)
        assert diary.clipped == [True] * first + [False] * (8 - first)

    def test_resumed_by_iterations(self, tmp_path):
        wrapper = dict(optimizer=dict(type='SGD', lr=0.1), clip_grad=dict(max_norm=1.0))
        diary = Diary()
        short = dict(BY_ITER, max_iters=3)
        runner(tmp_path, short, hooks=[EarlyClipping(1)], optim_wrapper=wrapper).train()
        run = dict(hooks=[EarlyClipping(1), diary], resume=True, load_from=str(tmp_path / 'iter_3.pth'))
        runner(tmp_path, BY_ITER, optim_wrapper=wrapper, **run).train()
        assert diary.clipped == [True] + [False] * 4


def cosine(epochs):
    return dict(type='CosineAnnealingLR', end=epochs, T_max=epochs, by_epoch=True, convert_to_iter_based=True)


def steps(*milestones, **kwargs):
    return dict(type='MultiStepLR', by_epoch=True, milestones=list(milestones), **kwargs)


class TestChangedSchedule:
    def resumed(self, tmp_path, warnings, old, new, epochs=3, first=2):
        """Trains with settings, resumes after two epochs with others; returns the warnings."""
        runner(tmp_path, dict(BY_EPOCH, max_epochs=first), **old).train()
        start = dict(resume=True, load_from=str(tmp_path / 'epoch_2.pth'))
        return warnings(runner(tmp_path, dict(BY_EPOCH, max_epochs=epochs), **new, **start))

    @pytest.mark.parametrize(
        'old, new, told',
        [
            (cosine(2), cosine(6), 'param_scheduler[0] (CosineAnnealingLR, in iterations): T_max=8, end=8 is kept, not '
             'T_max=24, end=24'),
            (steps(2), steps(4), '(MultiStepLR): milestones=[2], end=2 is kept, not milestones=[4], end=3'),
            (steps(2, gamma=0.1), steps(2, gamma=0.5), 'gamma=0.1, end=2 is kept, not gamma=0.5, end=3'),
            (steps(2), [steps(2), cosine(6)], 'param_scheduler[1] (CosineAnnealingLR) is not in the checkpoint'),
            ([steps(2), cosine(2)], steps(2), 'param_scheduler[1] is not in the config'),
            (steps(2), cosine(6), 'milestones=[2], gamma=0.1'),
            (dict(type='OneCycleLR', eta_max=0.2, total_steps=8, by_epoch=False),
             dict(type='OneCycleLR', eta_max=0.2, total_steps=12, by_epoch=False), 'total_steps=8'),
        ],
    )  # fmt: skip
    def test_schedule(self, tmp_path, warnings, old, new, told):
        text = self.resumed(tmp_path, warnings, dict(param_scheduler=old), dict(param_scheduler=new))
        assert told in text and 'load_from=FILE' in text

    @pytest.mark.parametrize(
        'setting, told',
        [
            (dict(lr=0.05), 'optim_wrapper.optimizer.lr: 0.1 is kept, not 0.05'),
            (dict(weight_decay=0.01), 'optim_wrapper.optimizer.weight_decay: 0 is kept, not 0.01'),
            (dict(momentum=0.5), 'optim_wrapper.optimizer.momentum: 0.9 is kept, not 0.5'),
        ],
    )
    @pytest.mark.parametrize('schedule', [None, steps(2)], ids=['constant', 'steps'])
    def test_optimizer(self, tmp_path, warnings, setting, told, schedule):
        new = dict(optim_wrapper=dict(optimizer={**dict(type='SGD', lr=0.1, momentum=0.9), **setting}))
        text = self.resumed(tmp_path, warnings, dict(param_scheduler=schedule), dict(new, param_scheduler=schedule))
        assert told in text

    @pytest.mark.parametrize(
        'schedule',
        [None, steps(2), cosine(2), [cosine(2), steps(1)], dict(type='ReduceOnPlateauLR', monitor='coco/bbox_mAP'),
         dict(type='OneCycleLR', eta_max=0.2, total_steps=12, by_epoch=False),
         dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=3)],
    )  # fmt: skip
    def test_the_same_says_nothing(self, tmp_path, warnings, schedule):
        same = dict(param_scheduler=schedule)
        assert 'no effect' not in self.resumed(tmp_path, warnings, same, same, first=3)

    def test_nothing_left_to_train(self, tmp_path, warnings):
        assert '8 of 8 iterations' in self.resumed(tmp_path, warnings, {}, {}, epochs=2)

    def test_several_optimizers(self, tmp_path):
        from fishnet_mmdet.training.checkpoints.kept_settings import kept_settings

        run = runner(tmp_path)
        wrapper = OptimWrapper(torch.optim.SGD(run.model.parameters(), lr=0.2))
        run.optim_wrapper, run.param_schedulers = wrapper, None
        old = dict(optimizer=dict(wrapper.state_dict(), param_groups=[dict(wrapper.param_groups[0], lr=0.1)]))
        (line,) = kept_settings(run, old)
        assert line == 'optim_wrapper.optimizer.lr: 0.1 is kept, not 0.2'
        # In a test, the schedules of the config are not built.
        run.param_schedulers = [dict(type='ConstantLR'), dict(type='LinearLR')]
        assert len(list(kept_settings(run, dict(old, param_schedulers=[dict(last_step=1)])))) == 1
