"""FishNet-150 on Tiny ImageNet with the released stem, on images that are enlarged to 128 x 128.

A detector can load these weights unchanged. `tiny_imagenet_fishnet99.py` is for accuracy at 64 x 64.
"""

_base_ = './tiny_imagenet_fishnet99.py'
side = 128

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, base='fishnet150'),
        # Given explicitly, because defaults of other backbones differ: BN of mmdet's ResNets is in eval mode.
        frozen_stages=-1,
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
    )
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomCrop', crop_size=64, padding=8, padding_mode='reflect'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='Resize', scale=side, interpolation='bicubic'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=side, interpolation='bicubic'),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

max_epochs = 10
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=1, end=max_epochs, convert_to_iter_based=True),
]
