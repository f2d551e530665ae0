"""The ResNet beside `mask_rcnn_fishnet_small_nuclei_pretrained.py`: that of `tiny_imagenet_resnet_small.py`.

Its levels have the strides of FishNet's, 2, 4, 8 and 16 pixels. Every BN and the stem are fixed too.
"""

_base_ = ['./mask_rcnn_fishnet_small_nuclei_pretrained.py', './_base_/resnet_small.py']

custom_imports = dict(imports=['fishnet_mmdet', 'mmpretrain.models'])
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ResNet_CIFAR',
        **_base_.resnet_small,
        out_indices=(0, 1, 2, 3),
        frozen_stages=0,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/tiny/resnet/epoch_28.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
