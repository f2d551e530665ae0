"""Whole models of configs with seeded weights, for tests of what is done with trained ones."""

import torch
from mmengine.registry import MODELS, DefaultScope
from seeded import seed

from fishnet_mmdet.training.launch import read_config


def build(name):
    """A model whose backbone and neck have seeded weights, its heads random ones that tell regions apart."""
    cfg = read_config(name)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model).eval()
        torch.manual_seed(0)
        model.init_weights()
    seed(model.backbone)
    seed(model.neck)
    for key, value in model.state_dict().items():
        if 'fc_cls.weight' in key:
            value.mul_(2)
    return model
