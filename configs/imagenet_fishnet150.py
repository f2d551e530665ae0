"""FishNet-150 on ImageNet-1k, 100 epochs, step: the released recipe (78.14 top-1)."""

_base_ = './_base_/imagenet.py'
