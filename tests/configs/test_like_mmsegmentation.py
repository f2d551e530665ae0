"""The segmentors on ADE20K, which are written out, beside the configs of mmsegmentation."""

from importlib import import_module
from pathlib import Path

import pytest
from config_cases import PIXEL_LEVEL
from conftest import CONFIGS
from mmengine.config import Config

SEMANTIC, UPERNET, _ = PIXEL_LEVEL


@pytest.mark.parametrize('name, base', [(SEMANTIC, 'fpn_r50'), (UPERNET, 'upernet_r50')])
def test_segmentors_are_those_of_mmsegmentation(name, base):
    """But for the backbone, the widths it has, ADE20K's classes, and what a run is saved by."""
    mmseg = Path(import_module('mmseg').__file__).parent / '.mim/configs/_base_'
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    parts = ('datasets/ade20k', 'schedules/schedule_80k', 'default_runtime', f'models/{base}')
    data, schedule, runtime, stock = (Config.fromfile(mmseg / f'{part}.py') for part in parts)
    for key in ('train_pipeline', 'test_pipeline', 'tta_pipeline', 'val_evaluator', 'test_evaluator'):
        assert cfg[key] == data[key]
    for key in ('optim_wrapper', 'param_scheduler', 'val_cfg', 'test_cfg'):
        assert cfg[key] == schedule[key]
    for key in ('tta_model', 'log_processor', 'visualizer', 'default_scope'):
        assert cfg[key] == runtime[key]
    for loader in ('train_dataloader', 'val_dataloader'):
        theirs = data[loader]
        theirs.dataset.data_root = cfg[loader].dataset.data_root
        assert cfg[loader] == theirs
    theirs = {**stock.model.data_preprocessor, 'size': data.crop_size}
    assert cfg.model.data_preprocessor == theirs and cfg.model.test_cfg == stock.model.test_cfg
    for part in ('neck', 'decode_head', 'auxiliary_head'):
        own = dict(num_classes=150, in_channels=None)
        ours, theirs = cfg.model.get(part), stock.model.get(part)
        assert ours is theirs is None or {**ours, **own} == {**theirs, **own}
