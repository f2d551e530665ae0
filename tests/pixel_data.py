"""Data of a few images in the formats of ADE20K and COCO panoptic, and narrow configs to train on them."""

import dataclasses
import json

import cv2
import numpy as np
from conftest import CONFIGS
from seeded import NARROW

SIDE = 96
WIDTH = 32

ARCH = {field.name: getattr(NARROW, field.name) for field in dataclasses.fields(NARROW)}
COMMON = f"""\
# SyncBN does not run on a CPU.
norm_cfg = dict(type='BN', requires_grad=True)
backbone = dict(
    arch=dict(_delete_=True, **{ARCH}), frozen_stages=-1, norm_cfg=norm_cfg, norm_eval=False, init_cfg=None)
levels = {list(NARROW.out_channels)}
loader = dict(num_workers=0, persistent_workers=False)
val_dataloader = test_dataloader = loader
"""

SEMANTIC = f"""
model = dict(
    backbone=backbone, neck=dict(in_channels=levels, out_channels={WIDTH}, norm_cfg=norm_cfg),
    decode_head=dict(in_channels=[{WIDTH}] * 4, channels={WIDTH}, norm_cfg=norm_cfg))
train_dataloader = dict(loader, batch_size=2)
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
"""

UPERNET = f"""
model = dict(
    backbone=backbone, decode_head=dict(in_channels=levels, channels={WIDTH}, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=levels[2], channels={WIDTH}, norm_cfg=norm_cfg))
"""

PANOPTIC = f"""
model = dict(
    backbone=backbone, neck=dict(in_channels=levels, out_channels={WIDTH}, norm_cfg=norm_cfg),
    rpn_head=dict(in_channels={WIDTH}, feat_channels={WIDTH}),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels={WIDTH}),
        bbox_head=dict(in_channels={WIDTH}, fc_out_channels={WIDTH}),
        mask_roi_extractor=dict(out_channels={WIDTH}),
        mask_head=dict(in_channels={WIDTH}, conv_out_channels={WIDTH})),
    semantic_head=dict(in_channels={WIDTH}, inner_channels={WIDTH}))
train_dataloader = dict(loader, batch_size=2)
train_cfg = dict(max_epochs=1)
default_hooks = dict(logger=dict(interval=1))
"""

SMALL = {
    'semantic_fpn_fishnet150_ade20k': SEMANTIC,
    'upernet_fishnet150_ade20k': UPERNET,
    'panoptic_fpn_fishnet150': PANOPTIC,
}


def small_config(folder, name):
    """Writes a config as a user would write it: one of the repository, made narrow and fit for the CPU."""
    path = folder / f'small_{name}.py'
    path.write_text(f'_base_ = {str(CONFIGS / (name + ".py"))!r}\n{COMMON}{SMALL[name]}')
    return path


def paint(path, labels):
    """Writes a photo in which each label has a colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
    cv2.imwrite(str(path), colours[labels])


def write_ade20k(root):
    """Writes two images a split, with label maps: 0 nothing, 1 wall, 3 sky, 150 flag."""
    for split in ('training', 'validation'):
        for number in range(2):
            labels = np.ones((SIDE, SIDE), dtype=np.uint8)
            labels[: 20 + 10 * number] = 3
            labels[40:80, 30:70] = 150
            labels[-4:] = 0
            paint(root / f'images/{split}/ADE_{number}.jpg', labels)
            (root / f'annotations/{split}').mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / f'annotations/{split}/ADE_{number}.png'), labels)
    return root


def write_coco_panoptic(root, classes, things):
    """Writes two images a split, each with a person (a thing) and a crowd of them before a tree and a rug (stuff)."""
    categories = [dict(id=i, name=n, isthing=int(n in things)) for i, n in enumerate(classes, start=1)]
    ids = {category['name']: category['id'] for category in categories}
    for split in ('train2017', 'val2017'):
        images, annotations = [], []
        for number in range(2):
            segments = np.zeros((SIDE, SIDE), dtype=np.int32)
            rows = [('tree-merged', (0, 0, 96, 48), 0), ('rug-merged', (0, 48, 96, 40), 0)]
            rows += [('person', (20, 20, 30, 50), 0), ('person', (60, 30, 30, 30), 1)]
            infos = []
            for index, (name, (x, y, w, h), crowd) in enumerate(rows):
                # Beyond two bytes, as in COCO.
                key = 70_000 * (index + 1)
                segments[y : y + h, x : x + w] = key
                infos.append(dict(id=key, category_id=ids[name], bbox=[x, y, w, h], area=w * h, iscrowd=crowd))
            stem = f'{number:012}'
            paint(root / f'{split}/{stem}.jpg', segments // 70_000)
            maps = root / f'annotations/panoptic_{split}'
            maps.mkdir(parents=True, exist_ok=True)
            blue_first = np.stack([segments >> 16, segments >> 8 & 255, segments & 255], axis=-1)
            cv2.imwrite(str(maps / f'{stem}.png'), blue_first.astype(np.uint8))
            images.append(dict(id=number, file_name=f'{stem}.jpg', height=SIDE, width=SIDE))
            annotations.append(dict(image_id=number, file_name=f'{stem}.png', segments_info=infos))
        content = dict(images=images, annotations=annotations, categories=categories)
        (root / f'annotations/panoptic_{split}.json').write_text(json.dumps(content))
    return root
