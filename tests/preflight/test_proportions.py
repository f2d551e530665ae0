"""Schedules beside the length of a run, and image scales beside the sizes of the data: warnings, never errors."""

import pytest
from config_cases import EVERY, load
from conftest import CONFIGS, REAL_DATA
from mmdet.utils import register_all_modules
from mmengine.config import Config
from rich.progress import Progress

from fishnet_mmdet.base.config_files import copy_config
from fishnet_mmdet.preflight import examine
from fishnet_mmdet.preflight.coco import CocoData
from fishnet_mmdet.preflight.schedules import Length, check_schedules, length_of

register_all_modules(init_default_scope=False)


def found(case, kind):
    return [f.detail for f in examine(case.cfg, ['train', 'val'], weights=False).findings if f.kind == kind]


def late(length, *schedulers):
    return [finding.detail for finding in check_schedules(Config(dict(param_scheduler=list(schedulers))), length)]


class TestSchedules:
    """The demo set has 8 training images: 2 iterations an epoch, 10 epochs."""

    def test_a_warm_up_in_iterations_that_is_longer_than_a_run_in_epochs(self, make_case):
        case = make_case()
        case.cfg.param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=500)]
        (finding,) = [f for f in examine(case.cfg, ['train'], weights=False).findings if f.kind == 'no-effect']
        assert finding.detail == (
            'LinearLR: the warm-up never reaches its end=500: '
            'the run has 20 iterations (10 epochs, 2 iterations an epoch)'
        )
        assert finding.fix == 'set end=2, a tenth of the run, or train longer'
        case.cfg.param_scheduler[0].begin = 10
        (finding,) = [f for f in examine(case.cfg, ['train'], weights=False).findings if f.kind == 'no-effect']
        assert finding.fix == 'set end=11, a tenth of the run after begin=10, or train longer'
        case.cfg.preflight = dict(ignore='no-effect')
        assert found(case, 'no-effect') == []
        case.cfg.preflight = {}
        case.cfg.param_scheduler[0].end = 20
        assert found(case, 'no-effect') == []

    @pytest.mark.parametrize(
        'settings, per_epoch',
        [
            ({}, 2),
            ({'batch_size': 3}, 3),
            ({'batch_size': 3, 'drop_last': True, 'batch_sampler': None}, 2),
            ({'batch_sampler': None}, 2),
            ({'num_batch_per_epoch': 1}, 1),
            ({'dataset.indices': 3}, 1),
            ({'sampler.type': 'InfiniteSampler'}, None),
            ({'batch_sampler.type': 'MyBatchSampler'}, None),
        ],
    )
    def test_iterations_of_an_epoch(self, make_case, settings, per_epoch):
        case = make_case()
        for key, value in settings.items():
            case.cfg.merge_from_dict({f'train_dataloader.{key}': value})
        assert self.length(case).per_epoch == per_epoch

    def length(self, case):
        with Progress(disable=True) as progress:
            return length_of(case.cfg, CocoData.read(case.cfg, ['train'], progress))

    def test_wrapped_data(self, make_case):
        case = make_case()
        plain = case.cfg.train_dataloader.dataset
        repeated = dict(type='RepeatDataset', times=3, dataset=plain)
        case.cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[repeated, plain])
        assert self.length(case).per_epoch == 8
        case.cfg.train_dataloader.dataset = dict(type='ClassBalancedDataset', oversample_thr=1e-3, dataset=plain)
        assert self.length(case).per_epoch is None

    def test_several_processes(self, make_case, monkeypatch):
        case = make_case()
        case.cfg.launcher = 'pytorch'
        monkeypatch.setenv('WORLD_SIZE', '2')
        assert self.length(case).per_epoch == 1

    def test_equals_the_loader_of_a_run(self, make_case):
        from mmengine.runner import Runner

        case = make_case()
        case.cfg.train_dataloader.update(batch_size=3, num_workers=0, persistent_workers=False)
        loader = Runner.build_dataloader(dict(case.cfg.train_dataloader))
        assert len(loader) == self.length(case).per_epoch == 3

    def test_units_are_converted(self):
        epochs, iterations = Length(True, 12, 100), Length(False, 1200, 100)
        steps = dict(type='MultiStepLR', by_epoch=False, milestones=[800, 1200])
        assert late(epochs, steps) == [
            'MultiStepLR: milestone 1200 is not reached: the run has 1200 iterations (12 epochs, 100 iterations an '
            'epoch)'
        ]
        converted = dict(type='MultiStepLR', milestones=[8, 12], convert_to_iter_based=True)
        assert 'milestone 12 is not reached: the run has 12 epochs' in late(epochs, converted)[0]
        assert 'the run has 12 epochs (1200 iterations, 100' in late(iterations, converted)[0]
        assert 'the run has 1200000 iterations' in late(Length(True, 12, 100_000), dict(steps, milestones=[10**7]))[0]
        assert 'the run has 0.5 epochs' in late(Length(False, 50, 100), converted)[0]
        unknown = Length(True, 12)
        assert late(unknown, steps) == [] and late(unknown, dict(type='LinearLR', by_epoch=False, end=10**6)) == []

    def test_milestones_are_counted_from_the_beginning(self):
        """As in MMEngine: with begin=4, milestone 3 is the end of epoch 7."""
        decay = dict(type='MultiStepLR', begin=4, milestones=[3, 8])
        assert late(Length(True, 13), decay) == []
        (text,) = late(Length(True, 12), decay)
        assert 'milestone 8, counted from begin=4, is not reached: the run has 12 epochs' in text
        assert len(late(Length(True, 7), dict(type='StepLR', begin=4, step_size=3))) == 1

    def test_one_finding_for_a_schedule_that_never_begins(self):
        assert late(Length(True, 12), dict(type='MultiStepLR', begin=12, end=30, milestones=[20, 28])) == [
            'MultiStepLR: begin=12, but the run has 12 epochs, and by_epoch=True is the default'
        ]


class TestScales:
    """The drawn images have 96 x 96 pixels."""

    @pytest.mark.parametrize(
        'step, factor',
        [
            (dict(type='Resize', scale=(1333, 800), keep_ratio=True), '8.3'),
            (dict(type='Resize', scale=(800, 1333)), '8.3'),
            (dict(type='Resize', scale=288), '3.0'),
            (dict(type='mmdet.FixScaleResize', scale=(288, 288), keep_ratio=True), '3.0'),
            (dict(type='RandomResize', scale=(192, 192), ratio_range=(1.0, 2.5)), '3.5'),
            (dict(type='RandomChoiceResize', scales=[(1333, 640), (1333, 800)], keep_ratio=True), '7.5'),
            (dict(type='Resize', scale=(287, 287), keep_ratio=True), None),
            (dict(type='RandomResize', scale=(192, 192), ratio_range=(0.1, 2.0)), None),
            (dict(type='Resize', scale_factor=8.0, keep_ratio=True), None),
            (dict(type='RandomCrop', crop_size=(1024, 1024)), None),
            (dict(type='Resize', scale=('1333', '800')), None),
        ],
    )
    def test_of_training(self, make_case, step, factor):
        case = make_case()
        case.cfg.train_dataloader.dataset.pipeline.insert(2, step)
        texts = found(case, 'images-enlarged')
        assert len(texts) == (factor is not None)
        if factor:
            assert f'{factor} times as long or longer; the median image is 96 x 96' in texts[0]

    def test_the_step_that_enlarges_least_counts(self, make_case):
        """As in the pipelines of DETR, which scale, crop and scale again."""
        case = make_case()
        small, large = (dict(type='RandomChoiceResize', scales=[(side, side)]) for side in (128, 1024))
        choice = dict(type='RandomChoice', transforms=[[large], [small, dict(type='RandomFlip', prob=0.5), large]])
        case.cfg.train_dataloader.dataset.pipeline.insert(2, choice)
        assert found(case, 'images-enlarged') == []

    def test_a_mosaic_is_larger_than_its_images(self, make_case):
        case = make_case()
        steps = [dict(type='CachedMosaic', img_scale=(640, 640)), dict(type='RandomResize', scale=(1280, 1280))]
        case.cfg.train_dataloader.dataset.pipeline[2:2] = steps
        assert found(case, 'images-enlarged') == []

    def test_of_validation_with_its_switch(self, make_case):
        case = make_case()
        case.cfg.val_dataloader.dataset.pipeline[1].scale = (1333, 800)
        report = examine(case.cfg, ['train', 'val'], weights=False)
        assert [(f.kind, f.where) for f in report.findings] == [('images-enlarged', 'val')] and not report.errors
        assert 'set scale near the size of the median image, (96, 96)' in report.text()
        assert 'preflight=dict(ignore=["images-enlarged"])' in report.text()
        case.cfg.preflight = dict(ignore=['images-enlarged'])
        assert found(case, 'images-enlarged') == []


def test_missing_data_name_the_variable_that_moves_them(tmp_path, monkeypatch):
    """In a copy of a config that ships."""
    (config, *_) = copy_config('mask_rcnn_fishnet150_nuclei', tmp_path / 'mine')
    monkeypatch.chdir(tmp_path)
    for value in (None, 'else/where'):
        if value:
            monkeypatch.setenv('NUCLEI_ROOT', value)
        texts = [f.detail for f in examine(Config.fromfile(config), ['train'], weights=False).findings]
        name = (value or 'data/nuclei').rpartition('/')[2]
        assert f'NUCLEI_ROOT=/path/to/{name} takes the place of {value or "data/nuclei"}.' in texts[0]


class TestShippedConfigs:
    @pytest.mark.parametrize('name', EVERY)
    def test_schedules(self, name):
        """With the iterations that an epoch has on the data that the config is for."""
        cfg = load(name)
        images = dict(nuclei=451, demo=480, ade20k=20_210, tiny=100_000, imagenet=1_281_167)
        count = next((number for word, number in images.items() if word in name), 117_266)
        length = length_of(cfg, None)
        batch = cfg.train_dataloader.batch_size * (1 if 'nuclei' in name or 'demo' in name else 16)
        length = Length(length.by_epoch, length.last, count // batch)
        assert [finding.detail for finding in check_schedules(cfg, length)] == []

    @pytest.mark.parametrize('name', ['mask_rcnn_fishnet150_fpn_scratch', 'mask_rcnn_fishnet150_nuclei'])
    def test_real_data(self, name, monkeypatch):
        data = REAL_DATA / ('nuclei' if 'nuclei' in name else 'coco_mini')
        if not data.is_dir():
            pytest.skip(f'{data} is not here')
        monkeypatch.setenv('NUCLEI_ROOT' if 'nuclei' in name else 'COCO_ROOT', str(data))
        cfg = Config.fromfile(CONFIGS / f'{name}.py')
        cfg.preflight = dict(images=False)
        kinds = {finding.kind for finding in examine(cfg, ['train', 'val'], weights=False).findings}
        assert not kinds & {'images-enlarged', 'no-effect'}
