"""Mask R-CNN on FishNeXt-150 + FPN, the paper's recipe. Its weights were never released: name your own."""

_base_ = './mask_rcnn_fishnet150_fpn.py'
model = dict(backbone=dict(arch='fishnext150', init_cfg=dict(checkpoint='checkpoints/fishnext150-imagenet.pth')))
