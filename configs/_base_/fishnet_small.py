"""An architecture of 1.3 million parameters that halves images once in its stem, for small images and small objects.

The bottlenecks are 16 channels wide inside, or a multiple of it, in the hope that bfloat16 is faster so; that was not
measured by itself.
"""

_base_ = './kaiming.py'

small = dict(
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
)
