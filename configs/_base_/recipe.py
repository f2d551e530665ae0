"""The paper's detection recipe (arXiv 1901.03495, section 4.4): 16 GPUs x 1 image, 32 epochs, clipping in the first two."""

_base_ = 'mmdet::_base_/default_runtime.py'
custom_imports = dict(imports=['fishnet_mmdet'], allow_failed_imports=False)

train_cfg = dict(type='ResumableEpochLoop', max_epochs=32, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=5.0),  # switched off after epoch 2 by EarlyClipping below
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, begin=0, end=1, convert_to_iter_based=True),  # epoch 1
    dict(type='MultiStepLR', milestones=[20, 28], gamma=0.1),
]
auto_scale_lr = dict(enable=False, base_batch_size=16)

default_hooks = dict(checkpoint=dict(type='DurableCheckpoints', interval=1, max_keep_ckpts=2))
custom_hooks = [
    dict(type='EarlyClipping', epochs=2),
    dict(type='FixedNormGuard'),
    dict(type='NonFiniteGuard'),
    dict(type='ClassCountGuard'),
    dict(type='LostRankGuard'),
    dict(type='PlainCheckpoints'),
    dict(type='SyncBuffersHook'),  # else each rank would validate with BN statistics of its own
    dict(type='APReport'),
]
# Others wait in a collective while rank 0 computes AP; a rank that has died is told by LostRankGuard, in seconds.
env_cfg = dict(dist_cfg=dict(timeout=3600))
