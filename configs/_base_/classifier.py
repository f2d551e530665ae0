"""FishNet-150 as an image classifier of mmpretrain: the backbone's last level, FishNet's own neck, a linear layer."""

_base_ = ['mmpretrain::_base_/default_runtime.py', './safety.py']

model = dict(
    type='ImageClassifier',
    backbone=dict(type='FishNet', arch='fishnet150', out_indices=(3,)),
    neck=dict(type='FishNetNeck', in_channels=2112),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=1056,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1, 5),
        init_cfg=dict(type='Normal', layer='Linear', std=0.01),
    ),
)
data_preprocessor = dict(
    num_classes=1000,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

train_cfg = dict(type='ResumableEpochLoop', max_epochs=100, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator

default_hooks = dict(checkpoint=_base_.durable_checkpoints)
env_cfg = dict(dist_cfg=_base_.patient_collectives)
