"""The paper's detection recipe (arXiv 1901.03495, section 4.4).

16 GPUs x 1 image, 32 epochs, gradients clipped in the first two.
"""

_base_ = ['mmdet::_base_/default_runtime.py', './safety.py']

train_cfg = dict(type='ResumableEpochLoop', max_epochs=32, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=5.0),
)
# Clipping is switched off after epoch 2.
custom_hooks = [dict(type='EarlyClipping', epochs=2), *_base_.custom_hooks]
param_scheduler = [
    # Linear warm-up over epoch 1.
    dict(type='LinearLR', start_factor=0.001, begin=0, end=1, convert_to_iter_based=True),
    dict(type='MultiStepLR', milestones=[20, 28], gamma=0.1),
]
auto_scale_lr = dict(enable=False, base_batch_size=16)

default_hooks = dict(checkpoint=_base_.durable_checkpoints)
env_cfg = dict(dist_cfg=_base_.patient_collectives)
