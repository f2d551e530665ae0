"""FishNet-150 on ImageNet-1k, 200 epochs, cosine, label smoothing: the well-trained recipe (79.35 top-1)."""

_base_ = './_base_/imagenet.py'
model = dict(head=dict(loss=dict(_delete_=True, type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')))
train_cfg = dict(max_epochs=200)
param_scheduler = dict(_delete_=True, type='CosineAnnealingLR', begin=0, end=200, convert_to_iter_based=True)
