"""Mask R-CNN on a FishNet of 1.3 million parameters on nuclei, from random weights; two CPU cores train it in an hour.

The weights that it leaves are `fishnet://nuclei-mask-rcnn`: docs/model-cards/nuclei.md.

The stem halves an image once, so that the levels have strides of 2, 4, 8 and 16 pixels: half of the nuclei are
smaller than 18 x 18 pixels.
"""

_base_ = ['./mask_rcnn_fishnet150_nuclei.py', './_base_/fishnet_small.py']

norm_cfg = _base_.norm_cfg
# Channels of FPN and of the heads.
width = 64
# RoIAlign runs on one core: one sample per bin.
roi_extractor = dict(
    out_channels=width, featmap_strides=[2, 4, 8, 16], finest_scale=28, roi_layer=dict(sampling_ratio=1)
)
proposals = dict(nms_pre=600, max_per_img=300)
model = dict(
    backbone=dict(arch=dict(_delete_=True, **_base_.small), init_cfg=_base_.kaiming),
    neck=dict(in_channels=[64, 192, 448, 704], out_channels=width),
    rpn_head=dict(
        in_channels=width,
        feat_channels=width,
        # Anchors of 8 to 128 pixels.
        anchor_generator=dict(scales=[4], strides=[2, 4, 8, 16, 32]),
    ),
    roi_head=dict(
        bbox_roi_extractor=roi_extractor,
        bbox_head=dict(in_channels=width, fc_out_channels=256),
        mask_roi_extractor=roi_extractor,
        mask_head=dict(in_channels=width, conv_out_channels=width, norm_cfg=norm_cfg),
    ),
    train_cfg=dict(rpn_proposal=proposals, rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(rpn=proposals),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='RandomChoice',
        transforms=[[dict(type='Resize', scale_factor=factor, keep_ratio=True)] for factor in (0.7, 1.0, 1.4)],
    ),
    dict(type='RandomCrop', crop_size=(256, 256)),
    dict(type='RandomFlip', prob=0.75, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PackDetInputs'),
]
# Two images in each of two processes.
train_dataloader = dict(batch_size=2, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1)
test_dataloader = val_dataloader

max_epochs = 24
train_cfg = dict(max_epochs=max_epochs, val_interval=6)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=1, end=max_epochs, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=4)
default_hooks = dict(
    channels_last=dict(type='ChannelsLast'),
    # The average reaches back about 500 iterations. It is what is validated, and what a checkpoint holds as weights.
    ema=dict(type='EMAHook', momentum=0.002, update_buffers=True),
)
randomness = dict(seed=0)
