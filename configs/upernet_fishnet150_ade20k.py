"""UPerNet of mmsegmentation on FishNet-150, on ADE20K; the backbone as in the paper's detectors."""

_base_ = ['mmseg::_base_/models/upernet_r50.py', './_base_/ade20k.py', './_base_/fishnet150.py']
model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    pretrained=None,
    backbone=dict(_delete_=True, **_base_.fishnet),
    decode_head=dict(in_channels=_base_.fish_head_channels, num_classes=150),
    auxiliary_head=dict(in_channels=_base_.fish_head_channels[2], num_classes=150),
)
