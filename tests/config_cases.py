"""The configs of the repository by what they train, read and built once for all tests that only look at them."""

from copy import deepcopy
from functools import cache

import torch
from conftest import CONFIGS
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

EVERY = sorted(path.stem for path in CONFIGS.glob('*.py'))
DETECTORS = [name for name in EVERY if name.startswith(('mask_rcnn', 'faster_rcnn'))]
LIVE = [name for name in DETECTORS if 'scratch' in name or name.endswith(('demo', 'nuclei', 'nuclei_cpu'))]
"""Detectors that train from random weights, with live BN."""

CLASSIFIERS = {
    'imagenet_fishnet99': ('fishnet99', 1000), 'imagenet_fishnet99_cosine': ('fishnet99', 1000),
    'imagenet_fishnet150': ('fishnet150', 1000), 'imagenet_fishnet150_cosine': ('fishnet150', 1000),
    'imagenet_fishnet201': ('fishnet201', 1000), 'imagenet_fishnet201_cosine': ('fishnet201', 1000),
    'imagenet_fishnext150': ('fishnext150', 1000),
    'tiny_imagenet_fishnet99': ('fishnet99', 200), 'tiny_imagenet_fishnet150': ('fishnet150', 200),
    'tiny_imagenet_fishnet_small': (None, 200), 'tiny_imagenet_resnet_small': (None, 200),
    'classifier_fishnet_demo': (None, 9),
}  # fmt: skip
"""Architecture, None where it has no name, and number of classes of each classifier."""

PIXEL_LEVEL = {
    'semantic_fpn_fishnet150_ade20k': ('EncoderDecoder', 'FPNHead'),
    'upernet_fishnet150_ade20k': ('EncoderDecoder', 'UPerHead'),
    'panoptic_fpn_fishnet150': ('PanopticFPN', 'PanopticFPNHead'),
}
"""Types of model and head of each config of segmentation."""


@cache
def _read(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


def load(name):
    """A config, for the caller to change. Paths from the environment are those of the first call."""
    return deepcopy(_read(name))


@cache
def build(name):
    """The model of a config, on the meta device; nobody changes it but `train` and `eval`."""
    cfg = load(name)
    # mmpretrain's ResNet calls `Tensor.item` while it is built.
    device = 'cpu' if cfg.model.backbone.type.endswith('ResNet_CIFAR') else 'meta'
    with torch.device(device), DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build({**cfg.model, 'type': f'{cfg.default_scope}.{cfg.model.type}'}).to('meta')
