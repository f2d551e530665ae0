"""Faster R-CNN on FishNet-99 + FPN, the paper's recipe."""

_base_ = './faster_rcnn_fishnet150_fpn.py'
model = dict(backbone=dict(arch='fishnet99', init_cfg=dict(checkpoint='fishnet://fishnet99-imagenet')))
