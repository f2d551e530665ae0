"""The data sets of a detector that the user's data can replace, and what they read then."""

import inspect
from collections.abc import Iterator, Mapping, Sequence

from mmengine.config import Config

from fishnet_mmdet.base.config_nodes import class_names, dataset_class, mappings, name_of
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.preflight.mmdet_classes import (
    is_coco_dataset,
    is_panoptic_dataset,
    is_voc_dataset,
    reads_coco_as_mmdet,
)
from fishnet_mmdet.project.own_data import Part
from fishnet_mmdet.project.port.edits import Edit, Variable, mappings_at, value_at
from fishnet_mmdet.project.port.resnets import KeyPath, dotted

KEPT = ('test_mode', 'filter_cfg', 'pipeline')
"""What a data set in whose place another one comes leaves to it."""


def data_sets(config: Config) -> dict[str, KeyPath]:
    """Where the data set of each split is, in a config that can take the user's data.

    It reads COCO or Pascal VOC, or is a concatenation of such data sets with one pipeline.

    Raises:
        ConfigError: The config reads its data in another way.
    """
    if not config.get('train_dataloader'):
        raise ConfigError('the config has no train_dataloader, so there are no data to replace')
    for path, node in mappings_at(config, ('model',)):
        if node.get('teacher_ckpt'):
            raise ConfigError(
                f'{dotted(path)}.teacher_ckpt = {node["teacher_ckpt"]} is a teacher for the classes of the base: port '
                'a config without a teacher'
            )
    return {split: _data_set(config, split) for split in ('train', 'val', 'test') if config.get(f'{split}_dataloader')}


def names_of(config: Config, path: KeyPath) -> Sequence[str]:
    """The classes of a data set that `data_sets` found."""
    return class_names(_members(value_at(config, path))[0]) or ()


def _data_set(config: Config, split: str) -> KeyPath:
    found = [path for path, node in mappings_at(config, (f'{split}_dataloader',)) if 'ann_file' in node]
    path = found[0] if len(found) == 1 else _concatenation(config, split, found)
    maps = any(step.get('with_seg') for step in mappings(config[path[0]]))
    for node in _members(value_at(config, path)):
        if maps or is_panoptic_dataset(node) or not (is_coco_dataset(node) or is_voc_dataset(node)):
            what = 'annotations of another form than COCO or Pascal VOC'
            if maps or is_panoptic_dataset(node):
                what = 'semantic maps'
            raise ConfigError(
                f'{dotted(path)} is a {name_of(node)} with {what}, which --data cannot replace: port a config that '
                'reads boxes and masks from a COCO file'
            )
        if node.get('proposal_file'):
            raise ConfigError(
                f'{dotted(path)}.proposal_file = {node["proposal_file"]} holds proposals for the images of the base: '
                'port a detector that makes its own, such as mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
            )
    return path


def _concatenation(config: Config, split: str, found: Sequence[KeyPath]) -> KeyPath:
    """Where the concatenation of all data sets of a split is.

    Raises:
        ConfigError: There is none, or its members have pipelines of their own.
    """
    for path, node in mappings_at(config, (f'{split}_dataloader',)):
        members = [(*path, 'datasets', index) for index in range(len(node.get('datasets') or ()))]
        pipelines = [value_at(config, (*member, 'pipeline')) for member in members]
        if (
            members == list(found)
            and name_of(node) == 'ConcatDataset'
            and pipelines.count(pipelines[0]) == len(members)
        ):
            return path
    raise ConfigError(
        f'{split}_dataloader reads {len(found)} annotation files, and not as a ConcatDataset with one pipeline, which '
        '--data could replace: port a config with one COCO data set for each split'
    )


def _members(node: Mapping) -> Sequence[Mapping]:
    return node['datasets'] if 'datasets' in node else [node]


def reading(config: Config, path: KeyPath, part: Part, classes: Variable) -> Iterator[Edit]:
    """Changes that make a data set read the user's files, all of their images.

    Args:
        config: The config that is ported.
        path: Where the data set is, from `data_sets`.
        part: What it reads.
        classes: Names of the classes.

    Raises:
        ConfigError: Its class has arguments that a `CocoDataset` in its place would not understand.
    """
    node = value_at(config, path)
    files = dict(
        metainfo=dict(classes=classes),
        ann_file=part.facts.path.as_posix(),
        data_prefix=dict(img=f'{part.images.as_posix()}/'),
    )
    first, *others = _members(node)
    if 'datasets' in node or is_voc_dataset(first):
        kept = {key: first[key] for key in KEPT if first.get(key)}
        names = ' and '.join(dict.fromkeys(map(name_of, (first, *others))))
        yield Edit(path, dict(type='CocoDataset', data_root='', **files, **kept), f'in place of {names}')
        return
    if not reads_coco_as_mmdet(node):
        kind = dataset_class(node)
        # Those of the class alone, which the user may have written.
        known = {name for base in kind.__mro__[1:] for name in inspect.signature(base.__init__).parameters}
        if own := [key for key in node if key not in known and key not in ('type', '_scope_')]:
            raise ConfigError(
                f'{dotted(path)} is a {name_of(node)}, in whose place a CocoDataset would read your data, and has no '
                f'argument {", ".join(own)} there: port a config with a CocoDataset'
            )
        yield Edit((*path, 'type'), 'CocoDataset', f'a {name_of(node)} reads another form of COCO files')
    if node.get('data_root'):
        yield Edit((*path, 'data_root'), '')
    yield from (Edit((*path, key), value) for key, value in files.items())
    if node.get('indices') is not None:
        yield Edit((*path, 'indices'), None, 'all of your images')
