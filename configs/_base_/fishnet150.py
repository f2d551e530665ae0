"""FishNet-150 as the paper's detectors use it: pretrained, every BN fixed, the stem's convolutions fixed."""

fishnet = dict(
    type='FishNet',
    arch='fishnet150',
    frozen_stages=0,
    norm_cfg=dict(type='BN', requires_grad=False),
    norm_eval=True,
    init_cfg=dict(type='Pretrained', checkpoint='fishnet://fishnet150-imagenet'),
)
# FishNet.out_channels, the same for FishNet-99, -150 and -201.
fish_head_channels = [320, 832, 1600, 2112]
