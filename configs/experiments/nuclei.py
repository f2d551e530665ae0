"""Is FishNet better than ResNet-50? Mask R-CNN on nuclei with several backbones.

`tools/compare_backbones.py` runs this file. It is not a training config: it lists, as data, what is compared. All but
the backbone comes from the track's config, including norms, which parameters are fixed, and where weights come from.
"""

backbones = dict(
    fishnet150=dict(type='FishNet', arch='fishnet150'),
    resnet50=dict(type='ResNet', depth=50),
    fishnet99=dict(type='FishNet', arch='fishnet99'),
    resnext50=dict(type='ResNeXt', depth=50, groups=32, base_width=4),
    fishnext150=dict(type='FishNet', arch='fishnext150'),
)
baseline = 'resnet50'

# A round finishes on every track before the next round begins.
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

# Learning rates are tried over fewer epochs. They are judged on images that are held out of the training set, never on
# the validation set.
rate_epochs = 6
held_out = 0.2

# Side in pixels of the image for which multiply-adds are counted.
side = 256
# Number of images that are painted.
pictures = 8
