"""ADE20K under mmsegmentation's recipe for FPN and UPerNet: batch 16, 80,000 iterations, crops of 512. No model.

The paper has no figures of semantic segmentation, so the data, the schedule and the metric are mmsegmentation's own.
"""

_base_ = [
    'mmseg::_base_/datasets/ade20k.py',
    'mmseg::_base_/schedules/schedule_80k.py',
    'mmseg::_base_/default_runtime.py',
]
custom_imports = dict(imports=['fishnet_mmdet'], allow_failed_imports=False)
data_root = '{{$ADE20K_ROOT:data/ade/ADEChallengeData2016}}/'  # elsewhere? ADE20K_ROOT=/path tools/train.py ...

train_dataloader = dict(dataset=dict(data_root=data_root))  # 4 images on each of 4 GPUs
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
auto_scale_lr = dict(enable=False, base_batch_size=16)

train_cfg = dict(type='ResumableIterLoop')
default_hooks = dict(checkpoint=dict(type='DurableCheckpoints', max_keep_ckpts=2))
custom_hooks = [
    dict(type='FixedNormGuard'),
    dict(type='NonFiniteGuard'),
    dict(type='ClassCountGuard'),
    dict(type='LostRankGuard'),
    dict(type='PlainCheckpoints'),
    dict(type='SyncBuffersHook'),
    dict(type='MIoUReport'),
]
# Others wait in a collective while rank 0 computes AP; a rank that has died is told by LostRankGuard, in seconds.
env_cfg = dict(dist_cfg=dict(timeout=3600))
