"""Mask R-CNN on FishNet-150 + FPN on nuclei as the paper trains: pretrained, BN and stem fixed, its schedule in shape.

Twelve epochs for the paper's 32: rates fall after 20/32 and 28/32 of them; gradients are clipped in the first two.
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
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, begin=0, end=1, convert_to_iter_based=True),
    dict(type='MultiStepLR', milestones=[8, 10], gamma=0.1),
]
