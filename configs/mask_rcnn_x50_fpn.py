"""Mask R-CNN on ResNeXt-50 32x4d + FPN: the paper's stronger baseline, under the same recipe."""

_base_ = './_base_/mask_rcnn_coco.py'
model = dict(
    backbone=dict(
        type='ResNeXt',
        groups=32,
        base_width=4,
        init_cfg=dict(checkpoint='open-mmlab://resnext50_32x4d'),
    )
)
