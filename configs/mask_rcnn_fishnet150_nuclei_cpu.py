"""Mask R-CNN on FishNet-150 + FPN on nuclei, from random weights, small enough for a CPU: 5 epochs.

The backbone has its full size. Neck, heads and proposals are smaller than in `mask_rcnn_fishnet150_nuclei.py`, and
batches are half as large: 565 iterations, for 684 there. Backbone and neck are computed in bfloat16.
"""

_base_ = './mask_rcnn_fishnet150_nuclei.py'

# Channels of FPN and of the heads.
width = 128
norm_cfg = _base_.norm_cfg
# RoIAlign runs on one core: one sample per bin.
roi_extractor = dict(out_channels=width, roi_layer=dict(sampling_ratio=1))
proposals = dict(nms_pre=600, max_per_img=300)
model = dict(
    neck=dict(out_channels=width),
    rpn_head=dict(in_channels=width, feat_channels=width),
    roi_head=dict(
        bbox_roi_extractor=roi_extractor,
        bbox_head=dict(in_channels=width, fc_out_channels=512),
        mask_roi_extractor=roi_extractor,
        mask_head=dict(in_channels=width, conv_out_channels=width, norm_cfg=norm_cfg),
    ),
    train_cfg=dict(rpn_proposal=proposals, rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(rpn=proposals),
)
train_dataloader = dict(batch_size=4, num_workers=1)
val_dataloader = dict(num_workers=1)
test_dataloader = val_dataloader
auto_scale_lr = dict(base_batch_size=4)

# The validation set has images of up to 1040 x 1388 pixels: it is evaluated once, at the end.
max_epochs = 5
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=1, end=max_epochs, convert_to_iter_based=True),
]
optim_wrapper = dict(type='CpuAmpOptimWrapper')
default_hooks = dict(channels_last=dict(type='ChannelsLast'))
