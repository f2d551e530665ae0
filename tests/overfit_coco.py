"""FishNet-150 from random weights on a few real images, until it predicts every object of them.

The environment variables COCO_ROOT and OVERFIT_ANNOTATIONS name the images and their annotations;
tests/training/test_training.py sets both.
"""

_base_ = '../configs/mask_rcnn_fishnet150_fpn.py'

annotations = '{{$OVERFIT_ANNOTATIONS:annotations/overfit.json}}'
scale = (256, 224)
# Channels of FPN and of the heads.
width = 128
# RoIAlign runs on one core: one sample per bin.
roi_extractor = dict(out_channels=width, finest_scale=28, roi_layer=dict(sampling_ratio=1))
max_epochs = 150
norm_cfg = dict(type='BN', requires_grad=True)

model = dict(
    backbone=dict(frozen_stages=-1, norm_cfg=norm_cfg, norm_eval=False, init_cfg=None),
    neck=dict(out_channels=width, norm_cfg=norm_cfg),
    rpn_head=dict(in_channels=width, feat_channels=width),
    roi_head=dict(
        bbox_roi_extractor=roi_extractor,
        bbox_head=dict(in_channels=width, fc_out_channels=512),
        mask_roi_extractor=roi_extractor,
        mask_head=dict(in_channels=width, conv_out_channels=width, num_convs=2, norm_cfg=norm_cfg),
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=500, max_per_img=200), rcnn=dict(sampler=dict(num=48))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200)),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    dataset=dict(ann_file=annotations, data_prefix=dict(img='train2017/'), pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(ann_file=annotations, data_prefix=dict(img='train2017/'), pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=annotations)
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=max_epochs, val_interval=50)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=5e-4, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=5, end=max_epochs, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=2), checkpoint=dict(interval=max_epochs))
randomness = dict(seed=0)
