"""ADE20K under mmsegmentation's recipe for FPN and UPerNet: batch 16, 80,000 iterations, crops of 512. No model.

The paper has no figures of semantic segmentation, so the data, the schedule and the metric are mmsegmentation's own.
"""

_base_ = [
    'mmseg::_base_/datasets/ade20k.py',
    'mmseg::_base_/schedules/schedule_80k.py',
    'mmseg::_base_/default_runtime.py',
    './safety.py',
]
# To read ADE20K from another folder: ADE20K_ROOT=/path/to/ADEChallengeData2016 tools/train.py ...
data_root = '{{$ADE20K_ROOT:data/ade/ADEChallengeData2016}}/'

# 4 images on each of 4 GPUs.
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
auto_scale_lr = dict(enable=False, base_batch_size=16)

train_cfg = dict(type='ResumableIterLoop')
default_hooks = dict(checkpoint=_base_.durable_checkpoints)
env_cfg = dict(dist_cfg=_base_.patient_collectives)
