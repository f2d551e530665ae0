"""Why is a ResNet ahead of FishNet as a pretrained detector? Small backbones from Tiny ImageNet on nuclei, two cores.

docs/results.md, section "Causes that were tried", has the commands that run parts of this file. The weights are those
of the classifiers of section "Tiny ImageNet", after 4 epochs.
"""

# As in `_base_/fishnet_small.py` and `_base_/resnet_small.py`.
_fishnet = dict(
    type='FishNet',
    arch=dict(
        tail=(1, 2, 2),
        bridge=1,
        body=(1, 1, 1),
        body_transfer=(1, 1, 1),
        head=(1, 2, 2),
        head_transfer=(1, 1, 1),
        stem_width=32,
        stem_stride=2,
        tail_widths=(64, 128, 256),
        body_widths=(128, 64, 32),
    ),
)
_resnet = dict(
    type='mmpretrain.ResNet_CIFAR',
    depth=50,
    stem_channels=16,
    base_channels=16,
    strides=(2, 2, 2, 2),
    out_indices=(0, 1, 2, 3),
)


def _from(classifier):
    checkpoint = f'work_dirs/tiny/{classifier}-4-0/epoch_4.pth'
    return dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.'))


backbones = {
    'fishnet': dict(**_fishnet, **_from('fishnet')),
    'fishnet-zero': dict(**_fishnet, **_from('fishnet-zero')),
    'resnet': dict(**_resnet, **_from('resnet')),
    'fishnet-random': _fishnet,
    'resnet-random': _resnet,
}
baseline = 'resnet'
rounds = [list(backbones)]
seeds = [0]

_options = {
    'custom_imports.imports': ['fishnet_mmdet', 'mmpretrain.models'],
    # The backbones name their weights.
    'model.backbone.init_cfg': None,
    'optim_wrapper.type': 'CpuAmpOptimWrapper',
    'train_dataloader.batch_size': 4,
}
_norm = dict(_delete_=True, type='BN', requires_grad=True)
_fixed = '../mask_rcnn_fishnet_small_nuclei_pretrained.py'
_live = '../mask_rcnn_fishnet_small_nuclei.py'
tracks = {
    # The paper's: every BN and the stem are fixed.
    'chain': dict(config=_fixed, options=_options, rates=[3e-4, 1e-3, 3e-3]),
    'neck-norm': dict(config=_fixed, options={**_options, 'model.neck.norm_cfg': _norm}, rates=[1e-3]),
    # BN is live in backbone, neck and heads, and nothing is fixed. The averages reach back as far as in the others.
    'live': dict(config=_live, options={**_options, 'default_hooks.ema.momentum': 0.01}, rates=[1e-3]),
}
rate_epochs = 5
held_out = 0.2

side = 256
pictures = 0
