"""The ResNet beside `tiny_imagenet_fishnet_small.py`: the same recipe, 1.58 million parameters.

ResNet-50, the paper's baseline, at a quarter of its width. It halves 64 x 64 pixels to 32 in the first stage, where
FishNet's stem does. For ResNet-18 of 1.61 million parameters, which is cheaper:
`--cfg-options model.backbone.depth=18 model.backbone.base_channels=24 model.backbone.stem_channels=24
model.head.in_channels=192`.
"""

_base_ = ['./tiny_imagenet_fishnet_small.py', './_base_/resnet_small.py']

model = dict(
    backbone=dict(_delete_=True, type='ResNet_CIFAR', **_base_.resnet_small),
    neck=dict(_delete_=True, type='GlobalAveragePooling'),
    head=dict(in_channels=512),
)
