"""Image classification: drawn classes, and the configs of ImageNet and Tiny ImageNet.

tests/configs/test_without_mmdet.py trains and tests a classifier through the tools.
"""

import math

import cv2
import numpy as np
import pytest
import torch
from config_cases import load
from conftest import CONFIGS
from mmdet.utils import register_all_modules
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope
from seeded import official_state
from weight_cases import as_downloaded

from fishnet_mmdet import FishNet
from fishnet_mmdet.lab.demo_data.demo import OBJECT_CLASSES, ClassesSpec, DemoDataError, make_demo_classes
from fishnet_mmdet.preflight import PreflightError, check

register_all_modules(init_default_scope=True)


@pytest.fixture(scope='module')
def demo_classes(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'classes'
    make_demo_classes(root, ClassesSpec(train=36, val=18, side=64))
    return root


class TestDemoClasses:
    def test_every_class_in_both_splits(self, demo_classes):
        for split, count in (('train', 36), ('val', 18)):
            folders = {path.name: list(path.iterdir()) for path in (demo_classes / split).iterdir()}
            assert set(folders) == set(OBJECT_CLASSES)
            assert {len(images) for images in folders.values()} == {count // len(OBJECT_CLASSES)}
            assert cv2.imread(str(folders['red_striped'][0])).shape == (64, 64, 3)

    def test_repeats_and_leaves_other_data_alone(self, demo_classes, tmp_path):
        spec = ClassesSpec(train=36, val=18, side=64)
        assert make_demo_classes(demo_classes, spec) is False
        make_demo_classes(tmp_path / 'again', spec)
        for path in demo_classes.rglob('*.jpg'):
            assert path.read_bytes() == (tmp_path / 'again' / path.relative_to(demo_classes)).read_bytes()
        (tmp_path / 'mine').mkdir()
        (tmp_path / 'mine' / 'photo.jpg').write_text('x')
        with pytest.raises(DemoDataError):
            make_demo_classes(tmp_path / 'mine')


class TestPreflight:
    @pytest.fixture
    def cfg(self, demo_classes):
        cfg = load('classifier_fishnet_demo')
        for split in ('train', 'val', 'test'):
            cfg[f'{split}_dataloader'].dataset.data_root = f'{demo_classes}/'
        return cfg

    def test_good_data_passes(self, cfg):
        check(cfg, ['train', 'val', 'test'], weights=True)

    def test_missing_images(self, cfg, tmp_path):
        cfg.val_dataloader.dataset.data_root = str(tmp_path)
        with pytest.raises(PreflightError, match='val images not found') as error:
            check(cfg, ['train', 'val'], weights=False)
        assert str(tmp_path / 'val') in str(error.value) and 'IMAGENET_ROOT' in str(error.value)

    def test_another_number_of_classes(self, cfg):
        cfg.model.head.num_classes = 10
        with pytest.raises(PreflightError, match='9 classes .* the head has 10.*num_classes=9'):
            check(cfg, ['train'], weights=False)

    def test_other_classes_in_the_splits(self, cfg, tmp_path):
        for split in ('train', 'val'):
            for index in range(9):
                name = 'odd' if (split, index) == ('val', 4) else f'c{index}'
                (tmp_path / split / name).mkdir(parents=True)
                (tmp_path / split / name / 'image.jpg').touch()
            cfg[f'{split}_dataloader'].dataset.data_root = str(tmp_path)
        with pytest.raises(PreflightError, match='different classes.*c4, odd'):
            check(cfg, ['train', 'val'], weights=False)

    def test_folders_without_a_file(self, cfg, tmp_path):
        for index in range(9):
            (tmp_path / 'train' / f'c{index}').mkdir(parents=True)
        cfg.train_dataloader.dataset.data_root = str(tmp_path)
        with pytest.raises(PreflightError, match='folders of 9 classes, but they hold no files'):
            check(cfg, ['train'], weights=False)

    def test_classes_that_lie_elsewhere(self, cfg, tmp_path):
        """Links to folders, as one makes a subset of ImageNet."""
        (tmp_path / 'train').mkdir()
        for index in range(9):
            (tmp_path / f'all/c{index}').mkdir(parents=True)
            (tmp_path / f'all/c{index}/image.jpg').touch()
            (tmp_path / f'train/c{index}').symlink_to(tmp_path / f'all/c{index}')
        cfg.train_dataloader.dataset.data_root = str(tmp_path)
        check(cfg, ['train'], weights=False)


class TestImageNet:
    """The released recipe, read off the configs as they build."""

    @pytest.mark.parametrize('number', [99, 150, 201])
    def test_schedules(self, number):
        step, cosine = load(f'imagenet_fishnet{number}'), load(f'imagenet_fishnet{number}_cosine')
        for cfg in (step, cosine):
            assert cfg.model.backbone.get('arch') == f'fishnet{number}'
            optimizer = dict(cfg.optim_wrapper.optimizer)
            assert optimizer == dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4)
            assert 'paramwise_cfg' not in cfg.optim_wrapper and cfg.auto_scale_lr.base_batch_size == 256
        assert step.train_cfg.max_epochs == 100 and step.model.head.loss.type == 'CrossEntropyLoss'
        assert dict(step.param_scheduler) == dict(type='MultiStepLR', milestones=[30, 60, 90], gamma=0.1)
        assert cosine.train_cfg.max_epochs == cosine.param_scheduler.end == 200
        assert cosine.param_scheduler.type == 'CosineAnnealingLR'
        assert cosine.model.head.loss.type == 'LabelSmoothLoss'

    @pytest.fixture
    def pipelines(self):
        cfg = load('imagenet_fishnet150')
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            yield {
                split: [TRANSFORMS.build(step) for step in cfg[f'{split}_dataloader'].dataset.pipeline]
                for split in ('train', 'val')
            }

    def test_augmentation(self, pipelines):
        crop, flip, light = pipelines['train'][1:4]
        assert crop.scale == (224, 224) and crop.crop_ratio_range == (0.08, 1.0)
        assert crop.aspect_ratio_range == (3.0 / 4.0, 4.0 / 3.0) and flip.prob == 0.5
        assert light.alphastd == 0.1

    def test_lighting_keeps_white_white(self, pipelines, tmp_path):
        """On bytes it would wrap around: 256 becomes 0."""
        cv2.imwrite(str(tmp_path / 'white.png'), np.full((64, 64, 3), 255, np.uint8))
        for _ in range(20):
            sample = dict(img_path=str(tmp_path / 'white.png'), gt_label=0)
            for step in pipelines['train']:
                sample = step(sample)
            assert sample['inputs'].min() > 225

    def test_evaluation_is_the_released_one(self, pipelines, tmp_path):
        """Short edge to 256 and the middle 224, decoded and resized by Pillow: the pixels of torchvision."""
        from PIL import Image
        from torchvision import transforms

        noise = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
        Image.fromarray(noise).resize((400, 300)).save(tmp_path / 'image.jpg')
        sample = dict(img_path=str(tmp_path / 'image.jpg'), gt_label=0)
        for step in pipelines['val']:
            sample = step(sample)
        released = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
        expected = np.asarray(released(Image.open(tmp_path / 'image.jpg').convert('RGB')))
        ours = sample['inputs'].permute(1, 2, 0).numpy()[:, :, ::-1]
        assert np.abs(ours.astype(int) - expected.astype(int)).max() <= 1

    def test_a_released_file_is_tested_in_one_command(self, tmp_path, run_tool):
        """The authors' file as downloaded, a folder of 1000 classes: top-1 and top-5."""
        path = as_downloaded(official_state('fishnet99'), tmp_path / 'fishnet99_ckpt.tar')
        rng = np.random.default_rng(0)
        for index in range(1000):
            folder = tmp_path / 'imagenet' / 'val' / f'n{index:08d}'
            folder.mkdir(parents=True)
            if index % 250 == 0:
                cv2.imwrite(str(folder / 'x.JPEG'), rng.integers(0, 255, (64, 64, 3), np.uint8))
        settings = ['test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False']
        done = run_tool(
            'tools/test.py', CONFIGS / 'imagenet_fishnet99.py', path, '--work-dir', tmp_path / 'out',
            '--cfg-options', *settings, env={'IMAGENET_ROOT': str(tmp_path / 'imagenet')},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        table = (tmp_path / 'out' / 'accuracy_test.md').read_text()
        assert 'this model' in table and '77.41' not in table  # 77.41 is of ImageNet val, these are other data


class TestTinyImageNet:
    @pytest.fixture
    def tiny(self, tmp_path):
        names = ['n03', 'n01', 'n02']
        for name in names:
            (tmp_path / 'train' / name / 'images').mkdir(parents=True)
            for index in range(2):
                path = tmp_path / f'train/{name}/images/{name}_{index}.JPEG'
                cv2.imwrite(str(path), np.zeros((64, 64, 3), np.uint8))
        (tmp_path / 'val' / 'images').mkdir(parents=True)
        cv2.imwrite(str(tmp_path / 'val/images/val_0.JPEG'), np.zeros((64, 64, 3), np.uint8))
        (tmp_path / 'val' / 'val_annotations.txt').write_text('val_0.JPEG\tn02\t0\t32\t44\t62\n')
        return tmp_path

    def test_reads_the_archive(self, tiny):
        """And not what Jupyter and file managers leave in it."""
        (tiny / 'train/.ipynb_checkpoints/images').mkdir(parents=True)
        for name in ('.ipynb_checkpoints', 'n01'):
            (tiny / f'train/{name}/images/.DS_Store').touch()
        train = DATASETS.build(dict(type='TinyImageNet', data_root=str(tiny), split='train'))
        val = DATASETS.build(dict(type='TinyImageNet', data_root=str(tiny), split='val'))
        assert train.metainfo['classes'] == val.metainfo['classes'] == ('n01', 'n02', 'n03')
        assert [train.get_data_info(i)['gt_label'] for i in range(6)] == [0, 0, 1, 1, 2, 2]
        assert len(val) == 1 and val.get_data_info(0)['gt_label'] == 1

    def test_what_is_missing_is_shown(self, tmp_path):
        with pytest.raises(FileNotFoundError, match='val_annotations.txt'):
            DATASETS.build(dict(type='TinyImageNet', data_root=str(tmp_path), split='train'))
        with pytest.raises(ValueError, match='test'):
            DATASETS.build(dict(type='TinyImageNet', data_root=str(tmp_path), split='test'))

    def test_64_pixels_are_not_shrunk_to_16(self):
        cfg = load('tiny_imagenet_fishnet99')
        arguments = {k: v for k, v in cfg.model.backbone.items() if k not in ('type', 'out_indices')}
        with torch.device('meta'):
            net = FishNet(**arguments)
            sides = [level.shape[-1] for level in net(torch.zeros(1, 3, 64, 64))]
        assert sides == [32, 16, 8, 4] and net.out_strides == (2, 4, 8, 16)


@pytest.mark.parametrize('stride', [4, 2, 1])
def test_a_stem_for_small_images_changes_sizes_not_weights(stride):
    released, small = FishNet('fishnet99'), FishNet(dict(base='fishnet99', stem_stride=stride))
    small.load_state_dict(released.state_dict())
    assert small.out_strides[0] == stride
    for side in (64, 8 * stride - 1):
        sides = [level.shape[-1] for level in small.eval()(torch.zeros(1, 3, 64, side))]
        assert sides == [math.ceil(side / s) for s in small.out_strides]


def test_other_strides_are_refused():
    with pytest.raises(ValueError, match='stem_stride = 8'):
        FishNet(dict(base='fishnet99', stem_stride=8))
