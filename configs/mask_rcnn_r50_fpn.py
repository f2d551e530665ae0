"""Mask R-CNN on ResNet-50 + FPN: the paper's baseline, under the same recipe."""

_base_ = './_base_/mask_rcnn_coco.py'
