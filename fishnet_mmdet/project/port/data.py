"""The user's own data in place of those of a detector: data sets, evaluators, and the number of classes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from fishnet_mmdet.base.config_nodes import name_of
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.preflight.mmdet_classes import is_coco_dataset, is_coco_metric, is_panoptic_dataset
from fishnet_mmdet.preflight.nodes import class_names, mappings
from fishnet_mmdet.project.own_data import OwnData, Part
from fishnet_mmdet.project.port.edits import Edit, Variable, mappings_at, value_at
from fishnet_mmdet.project.port.resnets import Path, dotted

COUNTS = ('num_classes', 'num_things_classes')
"""Keys of models that hold the number of classes."""


def data_edits(config: Config, data: OwnData) -> Iterator[Edit]:
    """Changes that make a detector train and validate on the user's data.

    Args:
        config: The config that is ported.
        data: The user's data.

    Raises:
        ConfigError: The config reads its data in another way than one COCO file for each split, or needs masks that the
            data do not have.
    """
    parts = {'train': data.train, 'val': data.val, 'test': data.val}
    paths = {split: _data_set(config, split) for split in parts if config.get(f'{split}_dataloader')}
    if 'train' not in paths:
        raise ConfigError('the config has no train_dataloader, so there are no data to replace')
    _check_masks(config, data.train)
    classes = Variable('classes', data.train.facts.classes)
    yield Edit(('classes',), classes.value)
    for split, path in paths.items():
        yield from _read(config, path, parts[split], classes)
        if split != 'train':
            yield from _evaluate(config, split, parts[split], data.train.facts.masks >= 0.5)
    yield from _count(config, class_names(value_at(config, paths['train'])) or (), len(classes.value))


def _data_set(config: Config, split: str) -> Path:
    """Where the only data set of a split is."""
    found = [(path, node) for path, node in mappings_at(config, (f'{split}_dataloader',)) if 'ann_file' in node]
    if len(found) != 1:
        raise ConfigError(
            f'{split}_dataloader reads {len(found)} annotation files, and --data replaces one: port a config with one '
            'COCO data set for each split'
        )
    path, node = found[0]
    maps = is_panoptic_dataset(node) or any(step.get('with_seg') for step in mappings(config[path[0]]))
    if maps or not is_coco_dataset(node):
        what = 'semantic maps' if maps else 'annotations of another form than COCO'
        raise ConfigError(
            f'{dotted(path)} is a {name_of(node)} with {what}, which --data cannot replace: port a config that reads '
            'boxes and masks from a COCO file'
        )
    return path


def _check_masks(config: Config, part: Part) -> None:
    reads = any(step.get('with_mask') for step in mappings(config.train_dataloader))
    if reads and part.facts.masks < 0.5:
        raise ConfigError(
            f'the config trains masks, and {part.facts.masks:.0%} of the objects in {part.facts.path} have one: port a '
            'detector without masks, such as mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
        )


def _read(config: Config, path: Path, part: Part, classes: Variable) -> Iterator[Edit]:
    """Makes a data set read the user's files."""
    node = value_at(config, path)
    if name_of(node) != 'CocoDataset':
        yield Edit((*path, 'type'), 'CocoDataset')
    if node.get('data_root'):
        yield Edit((*path, 'data_root'), '')
    yield Edit((*path, 'metainfo'), dict(**_replacing(node.get('metainfo')), classes=classes))
    yield Edit((*path, 'ann_file'), part.facts.path.as_posix())
    others = set(node.get('data_prefix') or ()) - {'img'}
    yield Edit((*path, 'data_prefix'), dict(**_replacing(others), img=f'{part.images.as_posix()}/'))


def _evaluate(config: Config, split: str, part: Part, masks: bool) -> Iterator[Edit]:
    """Makes the evaluators of a split read the user's file; those of other forms than COCO are replaced by ours."""
    path, file = (f'{split}_evaluator',), part.facts.path.as_posix()
    nodes = config.get(path[0])
    if not nodes:
        return
    if isinstance(nodes, Mapping) and is_coco_metric(nodes):
        yield Edit((*path, 'ann_file'), file)
        return
    ours = dict(type='OfficialCocoMetric', ann_file=file, metric=['bbox', 'segm'] if masks else 'bbox')
    listed = [nodes] if isinstance(nodes, Mapping) else nodes
    kept = [dict(node, ann_file=file) for node in listed if is_coco_metric(node)] or [ours]
    dropped = [name_of(node) for node in listed if not is_coco_metric(node)]
    yield Edit(path, kept, f'without {", ".join(dropped)}' if dropped else '')


def _count(config: Config, names: Sequence[str], new: int) -> Iterator[Edit]:
    """Sets the number of classes wherever the model has that of the old data; a head of proposals has its own.

    Raises:
        ConfigError: It is not clear where that is.
    """
    nodes = [(path, node) for path, node in mappings_at(config, ('model',)) if 'rpn_head' not in path]
    counts = {node[key] for _, node in nodes for key in COUNTS if node.get(key)}
    if not counts and any('rpn_head' in path for path, _ in mappings_at(config, ('model',))):
        # It finds proposals, without classes.
        return
    old = len(names)
    if old not in counts:
        if len(counts) != 1:
            raise ConfigError(
                f'the model has {" and ".join(COUNTS)} = {sorted(counts)}, its data {old} classes: it is not clear '
                'which number --data has to change'
            )
        (old,) = counts
    for path, node in nodes if old != new else ():
        yield from (Edit((*path, key), new) for key in COUNTS if node.get(key) == old)
        weights = node.get('class_weight')
        # The last one is the weight of the background.
        if isinstance(weights, Sequence) and len(weights) == old + 1 and len(set(weights[:old])) == 1:
            yield Edit((*path, 'class_weight'), [*list(weights[:1]) * new, weights[-1]])


def _replacing(node: Any) -> dict[str, bool]:
    """MMEngine's mark for a dict that replaces another one, if there is something to replace."""
    return dict(_delete_=True) if node else {}
