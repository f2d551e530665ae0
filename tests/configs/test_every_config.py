"""Every config takes a training step through tools/train.py, at its real depth and width. Minutes, so marked long.

For docs/results.md, which shows the whole command.
"""

import re

import cv2
import numpy as np
import pytest
import torch
from config_cases import CLASSIFIERS, DETECTORS, load
from conftest import CONFIGS, demo_options
from seeded import seed

from fishnet_mmdet import FishNet
from fishnet_mmdet.lab.demo_data.demo import ClassesSpec, DemoSpec, make_demo_classes, make_demo_data

NO_VALIDATION = ['val_cfg=None', 'val_dataloader=None', 'val_evaluator=None']
IMAGENET = [name for name in CLASSIFIERS if name.startswith('imagenet')]
TINY_IMAGENET = [name for name in CLASSIFIERS if name.startswith('tiny_imagenet')]
LOADER = 'train_dataloader'
ONE_EPOCH = [*NO_VALIDATION, 'train_cfg.max_epochs=1', 'default_hooks.logger.interval=1']
NO_WORKERS = [f'{LOADER}.num_workers=0', f'{LOADER}.persistent_workers=False']

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


@pytest.fixture
def take_step(run_tool, tmp_path):
    def take(name, settings, **env):
        flags = ['--work-dir', tmp_path, '--cfg-options', *settings]
        check_losses(run_tool('tools/train.py', CONFIGS / f'{name}.py', *flags, env=env, timeout=600))

    return take


def check_losses(done):
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    losses = re.findall(r'epoch 1/1 .* loss ([\d.]+)', done.stdout + done.stderr)
    assert losses and all(float(loss) > 0 for loss in losses)


@pytest.mark.parametrize('name', DETECTORS)
def test_detectors(name, one_image, tmp_path, take_step):
    settings = [s for s in demo_options(one_image) if not s.startswith(('val_dataloader.', 'val_evaluator.'))]
    settings += ONE_EPOCH
    if 'demo' not in name:
        settings += [
            f'{LOADER}.dataset.metainfo.classes=disc,box,triangle',
            f'{LOADER}.dataset.data_prefix.img=train/',
            f'{LOADER}.dataset.ann_file=annotations/instances_train.json',
        ]
        types = [step.type for step in load(name).train_dataloader.dataset.pipeline]
        size = 'crop_size=(64,64)' if 'nuclei' in name else 'scale=(128,128)'
        settings += [f'{LOADER}.dataset.pipeline.{types.index("RandomCrop" if "nuclei" in name else "Resize")}.{size}']
        heads = ('bbox_head', 'mask_head') if name.startswith('mask') else ('bbox_head',)
        settings += [f'model.roi_head.{head}.num_classes=3' for head in heads]
    backbone = load(name).model.backbone
    if backbone.type != 'FishNet':
        # Weights of the baselines are on the network.
        settings += ['model.backbone.init_cfg=None', 'model.backbone.norm_eval=False']
        settings += ['model.backbone.norm_cfg.requires_grad=True', 'model.backbone.frozen_stages=-1']
    elif backbone.init_cfg:
        settings += [f'model.backbone.init_cfg.checkpoint={weights(backbone, tmp_path)}']
    elif backbone.norm_cfg.type == 'SyncBN':
        # It does not run on a CPU.
        settings += ['model.backbone.norm_cfg.type=BN', 'model.neck.norm_cfg.type=BN']
    take_step(name, settings)


@pytest.mark.parametrize('name', IMAGENET)
def test_classifiers(name, thousand_classes, take_step):
    settings = [*ONE_EPOCH, *NO_WORKERS, f'{LOADER}.batch_size=3']
    take_step(name, settings, IMAGENET_ROOT=str(thousand_classes))


@pytest.mark.parametrize('name', TINY_IMAGENET)
def test_tiny_imagenet(name, tmp_path, take_step):
    for index in range(200):
        folder = tmp_path / 'tiny/train' / f'n{index:08d}' / 'images'
        folder.mkdir(parents=True)
        if index % 50 == 0:
            cv2.imwrite(str(folder / 'x.JPEG'), np.full((64, 64, 3), index, np.uint8))
    settings = [*ONE_EPOCH, *NO_WORKERS, f'{LOADER}.batch_size=4', 'param_scheduler=None']
    take_step(name, settings, TINY_IMAGENET_ROOT=str(tmp_path / 'tiny'))
