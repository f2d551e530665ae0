"""Flags of `train` that add backends and pictures to a config."""

import json
import math

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import VISUALIZERS

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.training.launch.switches import switch_on_backends, switch_on_val_pictures


class TestBackends:
    """`--tensorboard` and `--wandb`."""

    FIGURES = {'loss': 1.5, 'coco/bbox_mAP_s': -1.0, 'coco/bbox_mAP': math.nan}

    def visualizer(self, folder, **flags):
        cfg = Config(dict(work_dir=str(folder), model=dict(type='RetinaNet')))
        switch_on_backends(cfg, **flags)
        node = dict(cfg.visualizer, name=str(folder), save_dir=str(folder))
        return cfg, VISUALIZERS.build(node)

    def test_tensorboard(self, tmp_path):
        pytest.importorskip('tensorboard')
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        _, visualizer = self.visualizer(tmp_path, tensorboard=True)
        visualizer.add_scalars(self.FIGURES, step=3)
        visualizer.add_image('val_1', torch.zeros(4, 4, 3, dtype=torch.uint8).numpy(), step=3)
        visualizer.close()
        events = EventAccumulator(str(tmp_path / 'vis_data')).Reload()
        assert [(event.step, event.value) for event in events.Scalars('loss')] == [(3, 1.5)]
        assert set(self.FIGURES) <= set(events.Tags()['scalars']) and events.Tags()['images'] == ['val_1']
        # The file that other tools read is written as ever.
        assert json.loads((tmp_path / 'vis_data/scalars.json').read_text())['loss'] == 1.5

    def test_wandb_offline(self, tmp_path, monkeypatch):
        wandb = pytest.importorskip('wandb')
        monkeypatch.setenv('WANDB_MODE', 'offline')
        monkeypatch.chdir(tmp_path)
        (tmp_path / 'private.py').write_text('key = 1')
        cfg, visualizer = self.visualizer(tmp_path, wandb=True)
        try:
            visualizer.add_config(cfg)
            visualizer.add_scalars(self.FIGURES, step=3)
            assert wandb.run.name == tmp_path.name and wandb.run.config['work_dir'] == str(tmp_path)
        finally:
            visualizer.close()
            wandb.finish()
        runs = list(tmp_path.glob('vis_data/wandb/offline-run-*/*.wandb'))
        assert len(runs) == 1 and b'private.py' not in runs[0].read_bytes()

    @pytest.mark.parametrize('flag', ['tensorboard', 'wandb'])
    def test_a_package_that_is_not_there(self, monkeypatch, flag):
        monkeypatch.setattr('fishnet_mmdet.training.launch.switches.find_spec', lambda name: None)
        with pytest.raises(ConfigError, match=f'--{flag}: .* pip install {flag}'):
            switch_on_backends(Config(dict(work_dir='w')), **{flag: True})

    def test_a_backend_of_the_config_stays_the_only_one(self, monkeypatch):
        monkeypatch.setattr('fishnet_mmdet.training.launch.switches.find_spec', lambda name: True)
        backends = [dict(type='LocalVisBackend'), dict(type='mmengine.TensorboardVisBackend')]
        cfg = Config(dict(work_dir='w', visualizer=dict(type='Visualizer', vis_backends=backends)))
        switch_on_backends(cfg, tensorboard=True, wandb=True)
        kinds = [backend['type'] for backend in cfg.visualizer.vis_backends]
        assert kinds == ['LocalVisBackend', 'mmengine.TensorboardVisBackend', 'WandbFigures']
        # A dumped config is read again.
        assert cfg.custom_imports.imports == ['fishnet_mmdet.training.wandb_backend']


def test_pictures_of_other_libraries():
    for scope, kind in (('mmpretrain', 'VisualizationHook'), ('mmseg', 'SegVisualizationHook')):
        cfg = Config(dict(default_scope=scope, default_hooks=dict(visualization=dict(type=kind))))
        switch_on_val_pictures(cfg, 5)
        assert cfg.default_hooks.visualization.type == kind and cfg.default_hooks.visualization.interval == 5
    with pytest.raises(ConfigError, match='--draw-val 0'):
        switch_on_val_pictures(Config(), 0)


def test_the_flag_lists_every_mode(flags_of, capsys):
    assert {'--console', '--tensorboard', '--wandb', '--draw-val'} <= flags_of('train')
    assert '--console' in flags_of('test')
