"""Writes a config as text that is read and changed by hand."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fishnet_mmdet.network.arch import resolve_arch
from fishnet_mmdet.project.new.choices import Picture, Schedule
from fishnet_mmdet.project.own_data import OwnData
from fishnet_mmdet.project.source import as_comment, as_literal
from fishnet_mmdet.weights.catalogue import SCHEME

METRIC = "dict(type='OfficialCocoMetric', ann_file={file}, metric={metric})"


@dataclass(frozen=True)
class Plan:
    """Everything that a config says.

    Attributes:
        arch: Name of an architecture, or a dict.
        weights: Name in the catalogue; None for random weights.
        data: What trains and what validates.
        masks: Whether masks are learnt.
        picture: How images enter the network.
        anchors: Scale of the anchors.
        batch: Images in a batch.
        samples: Boxes of each image on which the heads are trained.
        detections: Objects that are found on an image, at most.
        workers: Processes that load them.
        rate: Learning rate.
        schedule: Length and steps.
        comments: Lines for the head of the file.
    """

    arch: str | Mapping
    weights: str | None
    data: OwnData
    masks: bool
    picture: Picture
    anchors: int
    batch: int
    samples: int
    detections: int
    workers: int
    rate: float
    schedule: Schedule
    comments: tuple[str, ...]


def config_text(plan: Plan) -> str:
    """The config as Python source."""
    return '\n'.join([_head(plan), _data(plan), _model(plan), _training(plan)])


def _head(plan: Plan) -> str:
    name = plan.arch if isinstance(plan.arch, str) else 'a FishNet of its own'
    detector = 'mask' if plan.masks else 'faster'
    comments = '\n'.join(
        textwrap.fill(as_comment(line), 118, initial_indent='# ', subsequent_indent='#   ') for line in plan.comments
    )
    facts = plan.data.train.facts
    counts = '\n'.join(f'    {as_literal(name)},  # {facts.counts[name]:,} objects' for name in facts.classes)
    return f'''\
"""{detector.title()} R-CNN on {name} for own data. Written by `fishnet-mmdet new`; change it as you like."""

{comments}

_base_ = ['mmdet::_base_/models/{detector}-rcnn_r50_fpn.py', 'mmdet::_base_/default_runtime.py']
custom_imports = dict(imports=['fishnet_mmdet'], allow_failed_imports=False)

# A relative path starts from the folder that the command is run in.
data_root = {as_literal(_folder(plan.data.root))}
{_paths(plan)}
classes = (
{counts}
)
'''


def _paths(plan: Plan) -> str:
    lines = []
    for name, part in (('train', plan.data.train), ('val', plan.data.val)):
        lines.append(f'{name}_annotations = {_below(part.facts.path, plan.data.root)}')
        lines.append(f'{name}_images = {_below(part.images, plan.data.root, "/")}')
    return '\n'.join(lines)


def _folder(path: Path) -> str:
    return f'{path.as_posix().rstrip("/")}/'


def _below(path: Path, root: Path, end: str = '') -> str:
    """A path as an expression: from `data_root` if it lies below it."""
    if path == root:
        return 'data_root'
    if path.is_relative_to(root):
        return f'data_root + {as_literal(path.relative_to(root).as_posix() + end)}'
    return as_literal(path.as_posix() + end)


def _data(plan: Plan) -> str:
    return f'{_pipelines(plan)}{_loaders(plan)}'


def _pipelines(plan: Plan) -> str:
    picture = plan.picture
    load = f"dict(type='LoadAnnotations', with_bbox=True{', with_mask=True' if plan.masks else ''})"
    resize = f"dict(type='Resize', scale={picture.scale}, keep_ratio=True)" if picture.scale else None
    change = resize or f"dict(type='RandomCrop', crop_size=({picture.crop}, {picture.crop}))"
    resize = resize or "dict(type='Resize', scale_factor=1.0, keep_ratio=True)"
    return f"""\
train_pipeline = [
    dict(type='LoadImageFromFile'),
    {load},
    {change},
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    {resize},
    {load},
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
"""


def _loaders(plan: Plan) -> str:
    sampler = "\n    batch_sampler=dict(type='AspectRatioBatchSampler')," * bool(plan.picture.scale)
    metric = "['bbox', 'segm']" if plan.masks else "'bbox'"
    return f"""\
train_dataloader = dict(
    batch_size={plan.batch},
    num_workers={plan.workers},
    persistent_workers={plan.workers > 0},
    sampler=dict(type='DefaultSampler', shuffle=True),{sampler}
    dataset=dict(
        type='CocoDataset',
        metainfo=dict(classes=classes),
        ann_file=train_annotations,
        data_prefix=dict(img=train_images),
        filter_cfg=dict(filter_empty_gt=True, min_size=1),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers={plan.workers},
    persistent_workers={plan.workers > 0},
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset',
        metainfo=dict(classes=classes),
        ann_file=val_annotations,
        data_prefix=dict(img=val_images),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = {METRIC.format(file='val_annotations', metric=metric)}
test_evaluator = val_evaluator
"""


def _model(plan: Plan) -> str:
    channels = list(resolve_arch(plan.arch).out_channels)
    if plan.weights:
        backbone = f"""\
        # As the paper trains detectors: pretrained, every BN and the stem fixed.
        frozen_stages=0,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint='{SCHEME}{plan.weights}'),
"""
        norm, neck = '', f'dict(in_channels={channels})'
    else:
        norm = """\
# From random weights, BN is trained, and the neck needs norms. On several GPUs: SyncBN.
norm_cfg = dict(type='BN', requires_grad=True)
"""
        backbone, neck = '        norm_cfg=norm_cfg,\n', f'dict(in_channels={channels}, norm_cfg=norm_cfg)'
    anchors = f'\n    rpn_head=dict(anchor_generator=dict(scales=[{plan.anchors}])),' * (plan.anchors != 8)
    samples = f'\n    train_cfg=dict(rcnn=dict(sampler=dict(num={plan.samples}))),' * (plan.samples != 512)
    found = f'\n    test_cfg=dict(rcnn=dict(max_per_img={plan.detections})),' * (plan.detections != 100)
    mask = ', mask_head=dict(num_classes=len(classes))' * plan.masks
    return f"""\
{norm}model = dict(
    backbone=dict(
        _delete_=True,
        type='FishNet',
        arch={plan.arch!r},
{backbone}    ),
    neck={neck},{anchors}
    roi_head=dict(bbox_head=dict(num_classes=len(classes)){mask}),{samples}{found}
)
"""


def _training(plan: Plan) -> str:
    schedule = plan.schedule
    warm_up = f"    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end={schedule.warm_up}),"
    if plan.weights:
        optimizer = f"dict(type='SGD', lr={plan.rate}, momentum=0.9, weight_decay=1e-4)"
        decay = f"    dict(type='MultiStepLR', milestones={list(schedule.milestones)}, gamma=0.1),"
    else:
        optimizer = f"dict(type='AdamW', lr={plan.rate}, weight_decay=0.05)"
        decay = "    dict(type='CosineAnnealingLR', T_max=max_epochs, convert_to_iter_based=True),"
    scaling = '# `train --auto-scale-lr` fits the learning rate to another batch.'
    if not plan.weights:
        scaling = (
            '# For another batch, multiply the learning rate of AdamW by the square root of the ratio of the batches.'
        )
    return f"""\
max_epochs = {schedule.epochs}
train_cfg = dict(type='ResumableEpochLoop', max_epochs=max_epochs, val_interval={schedule.val_interval})
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer={optimizer},
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
{warm_up}
{decay}
]
{scaling}
auto_scale_lr = dict(enable=False, base_batch_size={plan.batch})
default_hooks = dict(
    safety=dict(type='SafetyHooks'),
    checkpoint=dict(type='DurableCheckpoints', interval={schedule.val_interval}, max_keep_ckpts=2),
    logger=dict(interval={schedule.log_interval}),
)
"""
