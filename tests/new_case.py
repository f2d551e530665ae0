"""Configs that `fishnet-mmdet new` writes, read back and built, for tests."""

from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from own_data import coco, write_coco

from fishnet_mmdet.project.new import new_config
from fishnet_mmdet.project.new.machine import GIB, Machine

CPU = Machine(None, 8 * GIB, 2)
GPU = Machine('a GPU', 24 * GIB, 16)
NAMES = [f'{number}.jpg' for number in range(10)]


def write_usual(data):
    """The usual form: a file and an image folder for each split."""
    write_coco(data / 'annotations/instances_train.json', data / 'train', coco(NAMES[:6]))
    write_coco(data / 'annotations/instances_val.json', data / 'val', coco(NAMES[:2]))
    return data


def make(data='data', **settings):
    """The config of a folder, read back, and what was chosen by name."""
    made = new_config(data, 'fishnet99', 'my.py', **{'machine': CPU, 'from_scratch': True, **settings})
    assert made.report.errors == []
    return Config.fromfile('my.py'), {choice.name: choice for choice in made.choices}


def build(cfg):
    """The model and both data sets of a config, as a run builds them."""
    init_default_scope('mmdet')
    cfg = cfg.copy()
    cfg.model.backbone.arch = dict(base='fishnet99', width=0.25)
    cfg.model.neck.in_channels = [channels // 4 for channels in cfg.model.neck.in_channels]
    model = MODELS.build(cfg.model)
    train, val = (DATASETS.build(cfg[f'{split}_dataloader'].dataset) for split in ('train', 'val'))
    assert train[0]['inputs'].ndim == val[0]['inputs'].ndim == 3
    return model, train, val
