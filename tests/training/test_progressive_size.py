"""Smaller images first: which scale when, and the recipe of Tiny ImageNet that uses it, which resumes exactly."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from conftest import CONFIGS
from torch import nn

from fishnet_mmdet import ProgressiveSize
from fishnet_mmdet.base.errors import ConfigError

SCALES = [(0, 0.5), (0.3, 0.75), (0.7, 1)]


class Classifier(nn.Module):
    """Notes the size of each image that reaches the backbone."""

    def __init__(self):
        super().__init__()
        self.backbone, self.head = nn.Conv2d(3, 4, 1), nn.Linear(4, 2)
        self.sizes = []
        self.backbone.register_forward_hook(lambda m, inputs, out: self.sizes.append(tuple(inputs[0].shape[-2:])))

    def forward(self, x):
        return self.head(self.backbone(x).mean(dim=(2, 3)))


@pytest.fixture
def runner():
    return SimpleNamespace(model=Classifier(), iter=0, max_iters=10, logger=SimpleNamespace(info=lambda text: None))


def sizes_of(runner, hook, iterations, shape=(64, 64)):
    for runner.iter in iterations:
        hook.before_train_iter(runner, 0)
        runner.model(torch.rand(1, 3, *shape))
    return runner.model.sizes


class TestScales:
    def test_by_the_fraction_of_the_run(self, runner):
        hook = ProgressiveSize(SCALES)
        hook.before_train(runner)
        assert sizes_of(runner, hook, range(10)) == [(32, 32)] * 3 + [(48, 48)] * 4 + [(64, 64)] * 3

    def test_a_resumed_run_begins_with_the_scale_of_its_iteration(self, runner):
        hook = ProgressiveSize(SCALES)
        hook.before_train(runner)
        assert sizes_of(runner, hook, [5], shape=(64, 30)) == [(48, 22)]

    def test_validation_sees_whole_images(self, runner):
        hook = ProgressiveSize(SCALES)
        hook.before_train(runner)
        runner.model.eval()
        assert sizes_of(runner, hook, [0]) == [(64, 64)]

    def test_nothing_is_left_after_the_training(self, runner):
        hook = ProgressiveSize(SCALES)
        hook.before_train(runner)
        hook.after_train(runner)
        assert sizes_of(runner, hook, [0]) == [(64, 64)]

    @pytest.mark.parametrize(
        'scales, message',
        [
            ([], 'must increase from 0'),
            ([(0.1, 0.5)], 'must increase from 0'),
            ([(0, 0.5), (0.5, 0.75), (0.5, 1)], 'must increase from 0'),
            ([(0, 0.5), (1, 1)], 'stay below 1'),
            ([(0, 0)], 'scale 0 must be above 0'),
            ([(0, 0.5), (0.5, 1.5)], 'scale 1.5 must be'),
        ],
    )
    def test_what_cannot_be_used(self, scales, message):
        with pytest.raises(ConfigError, match=message):
            ProgressiveSize(scales)

    def test_a_detector_is_refused(self, runner):
        runner.model.head = None
        with pytest.raises(ConfigError, match='for classifiers'):
            ProgressiveSize(SCALES).before_train(runner)


@pytest.fixture
def drawn(tmp_path):
    """The tree of Tiny ImageNet with 5 classes of 4 images of noise."""
    rng = np.random.default_rng(0)
    lines = []
    for label in range(5):
        for part, count in (('train', 4), ('val', 1)):
            folder = tmp_path / 'tiny' / (f'train/n{label}/images' if part == 'train' else 'val/images')
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                image = rng.integers(0, 255, (64, 64, 3), np.uint8)
                cv2.imwrite(str(folder / f'{label}_{index}.JPEG'), image)
        lines.append(f'{label}_0.JPEG\tn{label}\t0\t0\t9\t9')
    (tmp_path / 'tiny/val/val_annotations.txt').write_text('\n'.join(lines))
    return tmp_path / 'tiny'


def test_the_recipe_resumes_exactly(drawn, tmp_path, run_tool):
    """In mixed precision, in the middle of an epoch: the weights, their average, and the sizes that were left."""

    def train(folder, *flags):
        settings = ['train_dataloader.batch_size=5', 'model.head.num_classes=5', 'data_preprocessor.num_classes=5']
        settings += ['train_cfg.max_epochs=4', 'param_scheduler.1.end=4']
        settings += ['default_hooks.checkpoint.by_epoch=False', 'default_hooks.checkpoint.interval=6']
        settings += ['default_hooks.checkpoint.max_keep_ckpts=-1']
        command = [CONFIGS / 'tiny_imagenet_fishnet_small.py', '--amp', '--work-dir', folder, *flags]
        env = {'TINY_IMAGENET_ROOT': str(drawn)}
        done = run_tool('tools/train.py', *command, '--cfg-options', *settings, env=env)
        assert done.returncode == 0, done.stderr[-3000:]
        return torch.load(folder / 'iter_16.pth', weights_only=True), done.stdout + done.stderr

    whole, said = train(tmp_path / 'whole')
    assert all(f'scaled by {scale} from iteration {i}' in said for scale, i in ((0.5, 1), (0.75, 6), (1, 13)))
    resumed, said = train(tmp_path / 'resumed', '--resume', tmp_path / 'whole/iter_6.pth')
    assert 'scaled by 0.75 from iteration 7' in said
    for part in ('state_dict', 'ema_state_dict'):
        assert whole[part].keys() == resumed[part].keys()
        assert all(torch.equal(value, resumed[part][key]) for key, value in whole[part].items())
    average = whole['state_dict']['head.fc.weight']
    assert not torch.equal(average, whole['ema_state_dict']['module.head.fc.weight'])
