"""FishNet-201 on ImageNet-1k, 200 epochs, cosine, label smoothing (79.71 top-1)."""

_base_ = './imagenet_fishnet150_cosine.py'
model = dict(backbone=dict(arch='fishnet201'))
