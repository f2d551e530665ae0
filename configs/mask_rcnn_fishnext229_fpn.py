"""Mask R-CNN on FishNeXt-229 + FPN: a reconstruction of the COCO 2018 winner's size, whose layout was never published."""

_base_ = './mask_rcnn_fishnext150_fpn.py'
model = dict(backbone=dict(arch='fishnext229', init_cfg=dict(checkpoint='checkpoints/fishnext229-imagenet.pth')))
