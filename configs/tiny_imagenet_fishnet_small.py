"""A FishNet of 1.6 million parameters on Tiny ImageNet, trained on two CPU cores in about two hours.

Images have half of their size at first, three quarters later, and their whole size at the end. For another length, set
`train_cfg.max_epochs` and `param_scheduler.1.end`; docs/results.md has the commands.
"""

_base_ = ['./tiny_imagenet_fishnet99.py', './_base_/fishnet_small.py']

model = dict(
    backbone=dict(arch=dict(_delete_=True, **_base_.small), init_cfg=_base_.kaiming),
    neck=dict(in_channels=704),
    head=dict(in_channels=352),
)

# Two processes make a batch of 128. Loading takes 0.2 ms an image, training several: workers would not help.
train_dataloader = dict(batch_size=64, num_workers=0, persistent_workers=False)
val_dataloader = dict(batch_size=125, num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader

max_epochs = 22
train_cfg = dict(max_epochs=max_epochs, val_interval=2)
optim_wrapper = dict(
    optimizer=dict(lr=0.2),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=1, end=max_epochs, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=128)
default_hooks = dict(
    logger=dict(interval=50),
    channels_last=dict(type='ChannelsLast'),
    progressive_size=dict(type='ProgressiveSize', scales=[(0, 0.5), (0.3, 0.75), (0.7, 1)]),
    # The average reaches back about 500 iterations. It is what is validated, and what a checkpoint holds as weights.
    ema=dict(type='EMAHook', momentum=0.002, update_buffers=True),
)
randomness = dict(seed=0)
