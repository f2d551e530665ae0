"""Mask R-CNN on a narrow FishNet that was pretrained as a classifier: the paper's chain on drawn images.

As in the paper, every BN and the stem are fixed, and neck and heads have no norm. `make demo-chain` runs this config.
"""

_base_ = './mask_rcnn_fishnet_demo.py'
model = dict(
    backbone=dict(
        frozen_stages=0,
        norm_cfg=dict(requires_grad=False),
        norm_eval=True,
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='work_dirs/demo_classifier/epoch_5.pth'),
    ),
    neck=dict(norm_cfg=None),
    roi_head=dict(mask_head=dict(norm_cfg=None)),
)

# Half of what the demo takes from scratch.
max_epochs = 5
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=1, end=max_epochs, eta_min=1e-5, convert_to_iter_based=True),
]
