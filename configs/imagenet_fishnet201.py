"""FishNet-201 on ImageNet-1k, 100 epochs, step: the released recipe (78.76 top-1)."""

_base_ = './_base_/imagenet.py'
model = dict(backbone=dict(arch='fishnet201'))
