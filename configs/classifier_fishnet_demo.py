"""A narrow FishNet as a classifier of drawn images: learns in minutes on two cores.

The first half of `make demo-chain`.
"""

_base_ = ['./_base_/classifier.py', './_base_/fishnet_narrow.py']
data_root = 'data/demo_classes/'

model = dict(
    backbone=dict(arch=dict(_delete_=True, **_base_.narrow), init_cfg=_base_.kaiming),
    neck=dict(in_channels=_base_.narrow_head_channels[-1]),
    head=dict(num_classes=9, in_channels=_base_.narrow_head_channels[-1] // 2),
)
data_preprocessor = dict(num_classes=9)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomFlip', prob=0.75, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
# 8 images in each of two processes.
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    dataset=dict(type='CustomDataset', data_root=data_root, data_prefix='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    dataset=dict(type='CustomDataset', data_root=data_root, data_prefix='val', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = val_dataloader

max_epochs = 5
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05, fused=True))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=1, end=max_epochs, eta_min=1e-5, convert_to_iter_based=True),
]
auto_scale_lr = dict(enable=False, base_batch_size=16)
default_hooks = dict(logger=dict(interval=20))
randomness = dict(seed=0)
