"""Does FishNet beat ResNet-50? Mask R-CNN on nuclei, backbone against backbone: `tools/compare_backbones.py` runs this.

Not a config of a training: it says what is compared, as data. Everything but the backbone is the track's config's, and
so are norms, what is fixed, and where weights come from.
"""

backbones = dict(
    fishnet150=dict(type='FishNet', arch='fishnet150'),
    resnet50=dict(type='ResNet', depth=50),
    fishnet99=dict(type='FishNet', arch='fishnet99'),
    resnext50=dict(type='ResNeXt', depth=50, groups=32, base_width=4),
    fishnext150=dict(type='FishNet', arch='fishnext150'),
)
baseline = 'resnet50'

# What is run first is complete first: a round goes through every track before the next one begins.
rounds = [['fishnet150', 'resnet50'], ['fishnet99', 'resnext50', 'fishnext150']]
seeds = [0, 1, 2]

tracks = dict(
    scratch=dict(config='../mask_rcnn_fishnet150_nuclei.py', rates=[1e-4, 3e-4, 1e-3]),
    pretrained=dict(
        config='../mask_rcnn_fishnet150_nuclei_pretrained.py',
        rates=[0.005, 0.01, 0.02],
        pretrain='../tiny_imagenet_fishnet150.py',
    ),
)

# Rates are tried over fewer epochs, on images of the training set that are held out of it for that; never on val.
rate_epochs = 6
held_out = 0.2

side = 256  # of the image for which multiply-adds are counted
pictures = 8
