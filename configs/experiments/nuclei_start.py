"""What helps FishNet-150 from random weights? Variants on nuclei, judged on held-out training images, on two cores.

`tools/compare_backbones.py configs/experiments/nuclei_start.py --kinds rate` runs this file.
"""

# Kaiming alone. By default, every bottleneck of either network starts as its shortcut.
_kaiming = [dict(type='Kaiming', layer='Conv2d'), dict(type='Constant', val=1, layer='_BatchNorm')]
# A norm and a ReLU behind each level: a pre-activation network has none behind its last sum.
_norm_relu = dict(base='fishnet150', levels='norm_relu')

backbones = {
    'fishnet150': dict(type='FishNet', arch='fishnet150'),
    'fishnet150-no-zero': dict(type='FishNet', arch='fishnet150', init_cfg=_kaiming),
    'fishnet150-levels': dict(type='FishNet', arch=_norm_relu),
    'fishnet150-no-zero-levels': dict(type='FishNet', arch=_norm_relu, init_cfg=_kaiming),
    'resnet50': dict(type='ResNet', depth=50),
    'resnet50-no-zero': dict(type='ResNet', depth=50, zero_init_residual=False),
}
baseline = 'resnet50'
rounds = [list(backbones)]
seeds = [0]

tracks = dict(scratch=dict(config='../mask_rcnn_fishnet150_nuclei_cpu.py', rates=[3e-4, 1e-3, 3e-3]))
rate_epochs = 2
held_out = 0.2

side = 256
pictures = 0
