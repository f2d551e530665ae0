"""Mask R-CNN on FishNet-150 + FPN on nuclei, trained as in the paper: pretrained, every BN and the stem fixed.

The schedule is the paper's, with 12 epochs instead of 32: the learning rate falls after 20/32 and 28/32 of them, and
gradients are clipped in the first two.
"""

_base_ = './mask_rcnn_fishnet150_nuclei.py'
model = dict(
    backbone=dict(
        frozen_stages=0,
        norm_cfg=dict(requires_grad=False),
        norm_eval=True,
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='fishnet://fishnet150-imagenet'),
    ),
    neck=dict(norm_cfg=None),
)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, begin=0, end=1, convert_to_iter_based=True),
    dict(type='MultiStepLR', milestones=[8, 10], gamma=0.1),
]
