"""ResNet-50 at a quarter of its width: 1.5 million parameters, levels with strides of 2, 4, 8 and 16 pixels."""

resnet_small = dict(depth=50, stem_channels=16, base_channels=16, strides=(2, 2, 2, 2))
