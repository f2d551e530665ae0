"""Initial weights without zeros at the end of each bottleneck, with which figures of docs/results.md were measured."""

kaiming = [dict(type='Kaiming', layer='Conv2d'), dict(type='Constant', val=1, layer='_BatchNorm')]
