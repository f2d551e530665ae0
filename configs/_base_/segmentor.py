"""What segmentors on FishNet-150 share: data, preprocessing, and the backbone of the paper's detectors."""

_base_ = ['./ade20k.py', './fishnet150.py']

norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=_base_.crop_size,
    ),
    backbone=_base_.fishnet,
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
