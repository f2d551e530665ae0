"""Every config takes a training step, through tools/train.py, at its real depth and width; minutes, so marked long."""

import re

import cv2
import numpy as np
import pytest
import torch
from conftest import CONFIGS, demo_options
from mmengine.config import Config
from seeded import seed

from fishnet_mmdet import FishNet
from fishnet_mmdet.lab.demo_data.demo import ClassesSpec, DemoSpec, make_demo_classes, make_demo_data

NO_VALIDATION = ['val_cfg=None', 'val_dataloader=None', 'val_evaluator=None']
DETECTORS = sorted(p.stem for p in CONFIGS.glob('*_rcnn_*.py'))
IMAGENET = sorted(p.stem for p in CONFIGS.glob('imagenet_*.py'))
LOADER = 'train_dataloader'

pytestmark = pytest.mark.long


@pytest.fixture(scope='module')
def one_image(tmp_path_factory):
    root = tmp_path_factory.mktemp('one') / 'demo'
    make_demo_data(root, DemoSpec(train=2, val=1, side=96))
    return root


@pytest.fixture(scope='module')
def thousand_classes(tmp_path_factory):
    """The drawn classes, and empty folders up to a thousand."""
    root = tmp_path_factory.mktemp('classes') / 'imagenet'
    make_demo_classes(root, ClassesSpec(train=9, val=9, side=64))
    for index in range(991):
        (root / 'train' / f'n{index:08d}').mkdir()
    return root


def weights(backbone, folder):
    """A file of seeded weights for a backbone's config: fixed BN needs statistics."""
    net = FishNet(backbone.arch)
    seed(net)
    torch.save(net.state_dict(), folder / 'fish.pth')
    return folder / 'fish.pth'


def run_step(done):
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    losses = re.findall(r'Epoch\(train\).* loss: ([\d.]+)', done.stdout + done.stderr)
    assert losses and all(float(loss) > 0 for loss in losses)


@pytest.mark.parametrize('name', DETECTORS)
def test_detectors(name, one_image, tmp_path, run_tool):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    settings = [*demo_options(one_image), *NO_VALIDATION, 'train_cfg.max_epochs=1']
    if 'demo' not in name:
        settings += [
            f'{LOADER}.dataset.metainfo.classes=disc,box,triangle',
            f'{LOADER}.dataset.data_prefix.img=train/',
        ]
        settings += [f'{LOADER}.dataset.ann_file=annotations/instances_train.json']
        size = 'crop_size=(64,64)' if 'nuclei' in name else 'scale=(128,128)'
        settings += [f'{LOADER}.dataset.pipeline.2.{size}']
        heads = ('bbox_head', 'mask_head') if name.startswith('mask') else ('bbox_head',)
        settings += [f'model.roi_head.{head}.num_classes=3' for head in heads]
    backbone = cfg.model.backbone
    if backbone.type != 'FishNet':  # weights of the baselines are on the network
        settings += ['model.backbone.init_cfg=None', 'model.backbone.norm_eval=False']
        settings += ['model.backbone.norm_cfg.requires_grad=True', 'model.backbone.frozen_stages=-1']
    elif backbone.init_cfg:
        settings += [f'model.backbone.init_cfg.checkpoint={weights(backbone, tmp_path)}']
    elif backbone.norm_cfg.type == 'SyncBN':  # which knows no CPU
        settings += ['model.backbone.norm_cfg.type=BN', 'model.neck.norm_cfg.type=BN']
    settings = [s for s in settings if not s.startswith(('val_dataloader.', 'val_evaluator.'))]
    run_step(
        run_tool(
            'tools/train.py',
            CONFIGS / f'{name}.py',
            '--work-dir',
            tmp_path,
            '--cfg-options',
            *settings,
            timeout=600,
        )
    )


@pytest.mark.parametrize('name', IMAGENET)
def test_classifiers(name, thousand_classes, tmp_path, run_tool):
    settings = [
        *NO_VALIDATION,
        'train_cfg.max_epochs=1',
        f'{LOADER}.batch_size=3',
        'default_hooks.logger.interval=1',
    ]
    settings += [f'{LOADER}.num_workers=0', f'{LOADER}.persistent_workers=False']
    run_step(
        run_tool(
            'tools/train.py',
            CONFIGS / f'{name}.py',
            '--work-dir',
            tmp_path,
            '--cfg-options',
            *settings,
            env={'IMAGENET_ROOT': str(thousand_classes)},
            timeout=600,
        )  # fmt: skip
    )


@pytest.mark.parametrize('name', ['tiny_imagenet_fishnet99', 'tiny_imagenet_fishnet150'])
def test_tiny_imagenet(name, tmp_path, run_tool):
    for index in range(200):
        (tmp_path / 'tiny/train' / f'n{index:08d}' / 'images').mkdir(parents=True)
        if index % 50 == 0:
            cv2.imwrite(
                str(tmp_path / f'tiny/train/n{index:08d}/images/x.JPEG'),
                np.full((64, 64, 3), index, np.uint8),
            )
    settings = [*NO_VALIDATION, 'train_cfg.max_epochs=1', f'{LOADER}.batch_size=4', f'{LOADER}.num_workers=0']
    settings += [
        f'{LOADER}.persistent_workers=False',
        'default_hooks.logger.interval=1',
        'param_scheduler=None',
    ]
    config = CONFIGS / f'{name}.py'
    environment = {'TINY_IMAGENET_ROOT': str(tmp_path / 'tiny')}
    run_step(run_tool('tools/train.py', config, '--work-dir', tmp_path, '--cfg-options', *settings, env=environment))
