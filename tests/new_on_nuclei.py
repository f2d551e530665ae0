"""Writes two configs to compare by their AP: one by `fishnet-mmdet new` on the nuclei, and the one made by hand.

Both get the same small network, the same number of epochs, and a seed; all else is as each of them has it. NUCLEI_ROOT
names the data. It prints the two commands that train: 20 minutes each at most on 2 cores.
"""

import argparse
import os
from pathlib import Path

from conftest import CONFIGS

from fishnet_mmdet.project.new import new_config

ARCH = dict(base='fishnet99', width=0.25)
CHANNELS = [80, 208, 400, 528]

SMALL = """
# Channels of FPN and of the heads. RoIAlign runs on one core: one sample per bin.
width = 64
extractor = dict(out_channels=width, roi_layer=dict(sampling_ratio=1))
model = dict(
    backbone=dict(arch=dict({delete}**{arch})),
    neck=dict(in_channels={channels}, out_channels=width),
    rpn_head=dict(in_channels=width, feat_channels=width),
    roi_head=dict(
        bbox_roi_extractor=extractor,
        bbox_head=dict(in_channels=width, fc_out_channels=256),
        mask_roi_extractor=extractor,
        mask_head=dict(in_channels=width, conv_out_channels=width),
    ),
)
train_dataloader = dict(num_workers=1, persistent_workers=True)
val_dataloader = dict(num_workers=1, persistent_workers=True)
test_dataloader = val_dataloader
default_hooks = dict(logger=dict(interval=10))
randomness = dict(seed=0)
"""

BY_HAND = """
train_cfg = dict(max_epochs={epochs}, val_interval={epochs})
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=1, end={epochs}, convert_to_iter_based=True),
]
"""
"""The schedule of the config made by hand, for another number of epochs."""


def write(data, out, epochs):
    """Writes the configs `new_small.py` and `hand_small.py`."""
    new_config(data, ARCH, out / 'new.py', from_scratch=True, epochs=epochs, overwrite=True)
    small = SMALL.replace('{arch}', repr(ARCH)).replace('{channels}', repr(CHANNELS))
    by_hand = os.path.relpath(CONFIGS / 'mask_rcnn_fishnet150_nuclei.py', out)
    texts = {
        'new': "_base_ = './new.py'\n" + small.replace('{delete}', '') + f'train_cfg = dict(val_interval={epochs})\n',
        'hand': f'_base_ = {by_hand!r}\n'
        + small.replace('{delete}', '_delete_=True, ')
        + BY_HAND.replace('{epochs}', str(epochs)),
    }
    for name, text in texts.items():
        (out / f'{name}_small.py').write_text(text)
    return [out / f'{name}_small.py' for name in texts]


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--epochs', type=int, default=6)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/new_on_nuclei'))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for path in write(Path(os.environ['NUCLEI_ROOT']), args.out, args.epochs):
        print(f'fishnet-mmdet train {path} --work-dir {args.out / path.stem}')
