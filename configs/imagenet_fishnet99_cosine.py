"""FishNet-99 on ImageNet-1k, 200 epochs, cosine, label smoothing (not published for it)."""

_base_ = './imagenet_fishnet150_cosine.py'
model = dict(backbone=dict(arch='fishnet99'))
