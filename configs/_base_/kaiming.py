"""Random weights without zeros at the end of each bottleneck, with which published figures were measured."""

kaiming = [dict(type='Kaiming', layer='Conv2d'), dict(type='Constant', val=1, layer='_BatchNorm')]
