"""Mask R-CNN on FishNet-150 + FPN from random weights: BN live and shared by all GPUs, nothing frozen.

For data without pretrained weights. FPN has norms too: it attaches to pre-activation sums, whose scale is not bounded
before training. On fewer GPUs, raise train_dataloader.batch_size, so that BN sees enough images.
"""

_base_ = './mask_rcnn_fishnet150_fpn.py'
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    backbone=dict(frozen_stages=-1, norm_cfg=norm_cfg, norm_eval=False, init_cfg=None),
    neck=dict(norm_cfg=norm_cfg),
)
