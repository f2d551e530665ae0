"""Mask R-CNN on FishNeXt-229 + FPN, the paper's recipe.

The architecture of the COCO 2018 winner was never published: this is a reconstruction of its size.
"""

_base_ = './mask_rcnn_fishnext150_fpn.py'
model = dict(backbone=dict(arch='fishnext229', init_cfg=dict(checkpoint='checkpoints/fishnext229-imagenet.pth')))
