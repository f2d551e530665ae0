"""Mask R-CNN on FishNet-150 + FPN, as in the paper's Table 3."""

_base_ = ['./_base_/mask_rcnn_coco.py', './_base_/fishnet150.py']
model = dict(
    backbone=dict(_delete_=True, **_base_.fishnet),
    neck=dict(in_channels=_base_.fish_head_channels),
)
