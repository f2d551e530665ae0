"""Mask R-CNN on FishNet-201 + FPN, the paper's recipe."""

_base_ = './mask_rcnn_fishnet150_fpn.py'
model = dict(backbone=dict(arch='fishnet201', init_cfg=dict(checkpoint='fishnet://fishnet201-imagenet-cosine')))
