"""The configs of a comparison: alike but for the backbone, schedules, images held out of training."""

import json
from pathlib import Path

import pytest
import torch
from compare_case import write_small
from conftest import CONFIGS
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch.nn.modules.batchnorm import _BatchNorm

from fishnet_mmdet.lab.compare.configure import check_backbones, configure, split, stretch
from fishnet_mmdet.lab.compare.experiment import CompareError, read_experiment
from fishnet_mmdet.lab.compare.networks import level_channels
from fishnet_mmdet.lab.compare.runs import ExperimentRun

NUCLEI = CONFIGS / 'experiments' / 'nuclei.py'


@pytest.fixture
def nuclei():
    return read_experiment(NUCLEI)


@pytest.fixture(scope='module')
def small(demo_data, tmp_path_factory):
    return write_small(tmp_path_factory.mktemp('experiment'), demo_data)


class TestConfigs:
    def test_alike_but_for_the_backbone(self, nuclei, tmp_path):
        """What differs between two backbones: the backbone, the channels that the neck takes in, the folder."""
        for track in nuclei.tracks:
            made = {}
            for name in nuclei.backbones:
                run = ExperimentRun(track=track, backbone=name, kind='epochs', seed=1, rate=0.5, weights='w.pth')
                made[name] = configure(nuclei, run, tmp_path).to_dict()
            for name, cfg in made.items():
                backbone, neck = cfg['model'].pop('backbone'), cfg['model']['neck'].pop('in_channels')
                assert neck == level_channels(nuclei.backbones[name])
                spec = nuclei.backbones[name]
                common = {k: v for k, v in backbone.items() if k not in spec}
                assert {k: backbone[k] for k in spec} == spec
                cfg.pop('work_dir')
                cfg['common'] = common
            assert all(cfg == made['resnet50'] for cfg in made.values())
            norm = made['resnet50']['common']
            assert norm['norm_eval'] == (not norm['norm_cfg']['requires_grad']) == (track == 'pretrained')
            assert made['resnet50']['optim_wrapper']['optimizer']['lr'] == 0.5
            assert made['resnet50']['randomness'] == dict(seed=1)

    def test_backbones_with_initial_weights_of_their_own(self, tmp_path):
        """The track leaves them at each backbone's default."""
        e = read_experiment(CONFIGS / 'experiments' / 'nuclei_start.py')
        check_backbones(e)
        runs = {name: ExperimentRun(track='scratch', backbone=name, kind='epochs', seed=0) for name in e.backbones}
        made = {name: configure(e, run, tmp_path).model.backbone for name, run in runs.items()}
        assert 'init_cfg' not in made['fishnet150'] and 'init_cfg' not in made['resnet50']
        assert made['fishnet150-no-zero'].init_cfg[0].type == 'Kaiming'
        assert made['resnet50-no-zero'].zero_init_residual is False

    def test_tracks_with_options(self, tmp_path):
        """Two tracks of one config differ in what an option names; the backbones bring their own weights."""
        e = read_experiment(CONFIGS / 'experiments' / 'nuclei_chain.py')
        check_backbones(e)
        made = {
            (track, name): configure(e, ExperimentRun(track=track, backbone=name, kind='epochs'), tmp_path)
            for track in e.tracks
            for name in e.backbones
        }
        norm = dict(type='BN', requires_grad=True)
        for (track, name), cfg in made.items():
            backbone, neck = cfg.model.backbone, cfg.model.neck
            own = Config.fromfile(CONFIGS / f'mask_rcnn_{name.split("-")[0]}_small_nuclei_pretrained.py').model
            if name.endswith('-random'):
                assert 'init_cfg' not in backbone
            else:
                assert f'/{name}-4-0/' in backbone.init_cfg.checkpoint
            settings = {k: v for k, v in own.backbone.items() if k not in ('init_cfg', 'norm_cfg', 'norm_eval')}
            if track == 'live':
                assert backbone.norm_cfg == norm and not backbone.get('norm_eval')
                del settings['frozen_stages']
            else:
                assert backbone.norm_cfg == dict(type='BN', requires_grad=False) and backbone.norm_eval
            assert settings.items() <= backbone.to_dict().items()
            assert neck.in_channels == own.neck.in_channels and neck.norm_cfg == (None if track == 'chain' else norm)

    @pytest.mark.parametrize('name', ['fishnet150', 'resnet50', 'resnext50'])
    def test_pretraining_builds(self, nuclei, name, tmp_path):
        cfg = configure(nuclei, ExperimentRun(track='pretrained', backbone=name, kind='pretrain'), tmp_path)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            model = MODELS.build(cfg.model).eval()
        with torch.no_grad():
            assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 200)
        model.train()
        assert all(norm.training for norm in model.modules() if isinstance(norm, _BatchNorm))
        assert all(p.requires_grad for p in model.backbone.parameters())

    @pytest.mark.parametrize('epochs, warm, end', [(24, 2, 24), (6, 1, 6), (1, 1, None)])
    def test_a_schedule_keeps_its_shape(self, epochs, warm, end):
        cfg = Config.fromfile(CONFIGS / 'mask_rcnn_fishnet150_nuclei.py')
        stretch(cfg, epochs)
        assert cfg.train_cfg.max_epochs == epochs and cfg.param_scheduler[0].end == warm
        if end:
            assert (cfg.param_scheduler[1].begin, cfg.param_scheduler[1].end) == (warm, end)
        else:
            assert len(cfg.param_scheduler) == 1  # one epoch is all warm-up

    def test_steps_and_clipping_move_too(self):
        cfg = Config.fromfile(CONFIGS / 'mask_rcnn_fishnet150_nuclei_pretrained.py')
        stretch(cfg, 24)
        assert cfg.param_scheduler[1].milestones == [16, 20]
        assert next(h for h in cfg.custom_hooks if h.type == 'EarlyClipping').epochs == 4

    def test_rates_are_chosen_on_images_held_out_of_train(self, small, demo_data, tmp_path):
        e = read_experiment(small)
        cfg = configure(e, ExperimentRun(track='scratch', backbone='fish', kind='rate', rate=1e-3, epochs=1), tmp_path)
        train, held = (
            json.loads(Path(cfg[f'{part}_dataloader'].dataset.ann_file).read_text()) for part in ('train', 'val')
        )
        whole = json.loads((demo_data / 'annotations' / 'instances_train.json').read_text())
        ids = [{image['id'] for image in part['images']} for part in (train, held, whole)]
        assert ids[0] | ids[1] == ids[2] and not ids[0] & ids[1] and len(ids[1]) == len(ids[2]) // 4
        assert len(train['annotations']) + len(held['annotations']) == len(whole['annotations'])
        for part, chosen in zip((train, held), ids[:2], strict=True):
            assert {a['image_id'] for a in part['annotations']} <= chosen
        assert cfg.val_dataloader.dataset.data_prefix == cfg.train_dataloader.dataset.data_prefix
        assert cfg.val_evaluator.ann_file == cfg.val_dataloader.dataset.ann_file
        again = split(
            e, configure(e, ExperimentRun(track='scratch', backbone='fish', kind='epochs'), tmp_path), tmp_path
        )
        assert json.loads(again[1].read_text()) == held

    def test_missing_data_is_reported(self, nuclei, tmp_path, monkeypatch):
        monkeypatch.setenv('NUCLEI_ROOT', str(tmp_path / 'nowhere'))
        with pytest.raises(CompareError, match='nowhere.*is the data where the config says'):
            configure(nuclei, ExperimentRun(track='scratch', backbone='resnet50', kind='rate', rate=1e-3), tmp_path)
