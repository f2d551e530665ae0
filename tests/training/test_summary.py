"""The lines about a run that its screen begins with."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from fishnet_mmdet.training.console.rows import listed, row_lines
from fishnet_mmdet.training.console.summary import (
    describe_frozen,
    describe_scheduler,
    describe_weights,
    rows_of_training,
)


def test_rows_keep_paths_whole():
    path = '/data/' + 'x' * 90
    assert row_lines('data', f'train: 5 images in {path}', 60) == [
        ('data       ', 'train: 5 images in'),
        (' ' * 11, path),
    ]
    assert row_lines('classes', 'a\x1b[2Jb', 60) == [('classes    ', 'a\\x1b[2Jb')]


def test_lists_are_cut():
    assert listed(['disc', 'box']) == 'disc, box'
    assert listed([f'class {n}' for n in range(80)], 30) == 'class 0, class 1, class 2 and 77 more'
    assert listed(['x' * 60, 'y']) == 'x' * 60 + ' and 1 more'


class TestSummary:
    def test_rows_that_cannot_be_made(self):
        logger = logging.Logger('nobody')
        model = torch.nn.Linear(3, 2)
        runner = SimpleNamespace(model=model, cfg=Config(dict(model={})), logger=logger, train_loop=None, iter=0)
        rows = dict(rows_of_training(runner))
        assert rows['network'] == 'Linear, 8 parameters' and rows['weights'] == 'random' and 'resumes' not in rows
        assert rows['schedule'] == rows['optimizer'] == rows['classes'] == 'see the config'

    @pytest.mark.parametrize(
        'scheduler, text',
        [
            (dict(type='MultiStepLR', milestones=[20, 28]), 'x 0.1 at epochs 20, 28'),
            (dict(type='LinearLR', begin=0, end=500, by_epoch=False), 'warm-up iterations 0 to 500'),
            (dict(type='CosineAnnealingLR', begin=1), 'CosineAnnealingLR from epoch 1'),
        ],
    )
    def test_scheduler(self, scheduler, text):
        assert describe_scheduler(scheduler) == text

    def test_frozen(self):
        model = torch.nn.Sequential(torch.nn.Linear(10, 100), torch.nn.BatchNorm1d(100))
        assert describe_frozen(model) == 'all parameters'
        model[1].requires_grad_(False).eval()
        assert describe_frozen(model) == '1.1 k parameters, 200 frozen; 1 of 1 batch norms fixed'

    def test_weights(self, tmp_path):
        backbone = dict(type='FishNet', init_cfg=dict(type='Pretrained', checkpoint='fishnet://fishnet150-imagenet'))
        cfg = Config(dict(model=dict(backbone=backbone)))
        assert describe_weights(cfg) == 'FishNet: fishnet://fishnet150-imagenet'
        (tmp_path / 'a.pth').touch()
        cfg.load_from = f'fishnet://{tmp_path}/a.pth'
        assert describe_weights(cfg).endswith('/a.pth') and '://' not in describe_weights(cfg)
