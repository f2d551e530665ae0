"""FishNet-99 on ImageNet-1k, 100 epochs, step: the released recipe (77.41 top-1)."""

_base_ = './_base_/imagenet.py'
model = dict(backbone=dict(arch='fishnet99'))
