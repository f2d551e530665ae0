"""A small architecture that learns on two cores: fewer bottlenecks than FishNet-99, at a quarter of its width.

An example of an architecture that is given as a dict instead of a name.
"""

_base_ = './kaiming.py'

narrow = dict(
    tail=(1, 2, 2),
    bridge=1,
    body=(1, 1, 1),
    body_transfer=(1, 1, 1),
    head=(1, 1, 1),
    head_transfer=(1, 1, 1),
    stem_width=16,
    tail_widths=(32, 64, 128),
    body_widths=(128, 96, 64),
)
# FishNet.out_channels of this architecture.
narrow_head_channels = [80, 208, 400, 528]
