"""FishNeXt-150 on ImageNet-1k, the recipe of FishNet-150 (the paper: 21.5 top-1 error)."""

_base_ = './_base_/imagenet.py'
model = dict(backbone=dict(arch='fishnext150'))
