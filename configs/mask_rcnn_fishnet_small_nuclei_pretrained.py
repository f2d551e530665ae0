"""Mask R-CNN on the FishNet of `tiny_imagenet_fishnet_small.py` on nuclei: the paper's chain on two CPU cores.

As in the paper, every BN and the stem are fixed, and neck and heads have no norm.
"""

_base_ = './mask_rcnn_fishnet_small_nuclei.py'
model = dict(
    backbone=dict(
        frozen_stages=0,
        norm_cfg=dict(requires_grad=False),
        norm_eval=True,
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='work_dirs/tiny/fishnet/epoch_22.pth'),
    ),
    neck=dict(norm_cfg=None),
    roi_head=dict(mask_head=dict(norm_cfg=None)),
)

# A quarter of what the base takes from scratch.
max_epochs = 6
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=1, end=max_epochs, convert_to_iter_based=True),
]
# The average reaches back about 100 iterations.
default_hooks = dict(ema=dict(momentum=0.01))
