"""Settings that MMEngine and MMDetection allow and few configs have: none, or a list."""

import logging
import re
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.training.checkpoints.position import position_of
from fishnet_mmdet.training.console.summary import describe_batch
from fishnet_mmdet.training.distributed import prepare_cpu_processes
from fishnet_mmdet.training.launch import training
from fishnet_mmdet.training.launch.start import checkpoint_out_dir
from fishnet_mmdet.training.launch.switches import switch_on_pictures
from fishnet_mmdet.weights.errors import WeightsError


@pytest.mark.parametrize(
    'scaling, size, warns', [(16, 8, True), (16, 16, False), (16, [8, 32], False), (None, 8, False)]
)
def test_the_batch_of_several_data_sets_is_a_list(scaling, size, warns, caplog):
    cfg = Config(dict(auto_scale_lr=scaling and dict(base_batch_size=scaling), train_dataloader=dict(batch_size=size)))
    runner = SimpleNamespace(cfg=cfg, world_size=1, logger=logging.getLogger('batch'))
    with caplog.at_level(logging.WARNING, 'batch'):
        training._warn_of_batch_size(runner)
    assert bool(caplog.records) == warns
    assert describe_batch(cfg) == ('' if isinstance(size, list) else f', batch {size}')


@pytest.mark.parametrize(
    'steps, scaled, said',
    [
        (4, False, None),
        (2, False, 'is meant for 16 images: with the 2 steps of accumulative_counts, multiply the rate by 0.5'),
        (4, True, '--auto-scale-lr does not count the 4 steps .* 16 images, and the learning rate is scaled to 4'),
    ],
)
def test_accumulated_gradients_count_in_the_batch(steps, scaled, said, caplog):
    cfg = Config(
        dict(
            auto_scale_lr=dict(base_batch_size=16, enable=scaled),
            train_dataloader=dict(batch_size=4),
            optim_wrapper=dict(accumulative_counts=steps),
        )
    )
    with caplog.at_level(logging.WARNING, 'batch'):
        training._warn_of_batch_size(SimpleNamespace(cfg=cfg, world_size=1, logger=logging.getLogger('batch')))
    assert re.search(said, caplog.text) if said else not caplog.records


def test_what_is_set_to_none():
    cfg = Config(dict(auto_scale_lr=None, default_hooks=None, work_dir='x', model=dict(type='mmdet.FasterRCNN')))
    assert checkpoint_out_dir(cfg) is None
    with pytest.raises(ConfigError, match='base_batch_size'):
        training._switch_on_scaling(cfg)
    switch_on_pictures(cfg, show=False, show_dir='pictures', wait_time=0)
    assert cfg.default_hooks.visualization.test_out_dir == 'pictures'


def test_a_checkpoint_of_mmdetection_2_is_not_resumed(tmp_path):
    content = dict(meta=dict(epoch=7, iter=700), state_dict={'x': torch.zeros(1)}, optimizer={})
    with pytest.raises(WeightsError, match='holds no message_hub, as checkpoints of MMDetection 2.*load_from=FILE'):
        position_of(content, tmp_path / 'epoch_7.pth')


def test_more_processes_than_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '2')
    with pytest.raises(
        ConfigError, match='2 processes on this machine, but torch finds 1 GPU, .*CUDA_VISIBLE_DEVICES='
    ):
        prepare_cpu_processes(Config(dict(launcher='pytorch')))
    prepare_cpu_processes(Config(dict(launcher='none')))
