"""The user's own data in place of those of a detector: data sets, evaluators, and the number of classes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from fishnet_mmdet.base.config_nodes import arguments_not_taken, mappings, metric_class, name_of
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.preflight.mmdet_classes import is_coco_metric
from fishnet_mmdet.project.own_data import OwnData, Part
from fishnet_mmdet.project.port.data_sets import data_sets, names_of, reading
from fishnet_mmdet.project.port.edits import Edit, Variable, mappings_at
from fishnet_mmdet.project.port.resnets import KeyPath, dotted

COUNTS = ('num_classes', 'num_things_classes')
"""Keys of models that hold the number of classes."""


def data_edits(config: Config, data: OwnData) -> Iterator[Edit]:
    """Changes that make a detector train and validate on the user's data.

    Args:
        config: The config that is ported.
        data: The user's data.

    Raises:
        ConfigError: The config cannot take them, or needs masks that the data do not have.
    """
    paths = data_sets(config)
    masks = _reads_masks(config, data.train)
    old = names_of(config, paths['train'])
    classes = Variable('classes', data.train.facts.classes)
    yield Edit(('classes',), classes.value)
    for split, path in paths.items():
        part = data.train if split == 'train' else data.val
        yield from reading(config, path, part, classes)
        if split != 'train':
            yield from _evaluate(config, f'{split}_evaluator', part, masks)
    yield from _count(config, old, classes.value)


def _reads_masks(config: Config, part: Part) -> bool:
    reads = any(step.get('with_mask') for step in mappings(config.train_dataloader))
    if reads and part.facts.masks < 0.5:
        raise ConfigError(
            f'the config trains masks, and {part.facts.masks:.0%} of the objects in {part.facts.path} have one: port a '
            'detector without masks, such as mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
        )
    return reads


def _evaluate(config: Config, key: str, part: Part, masks: bool) -> Iterator[Edit]:
    """Makes the evaluators of a split read the user's file; those of other forms than COCO are replaced by ours."""
    path: KeyPath = (key,)
    if not (nodes := config.get(key)):
        return
    if isinstance(nodes, Mapping) and 'metrics' in nodes:
        several = name_of(nodes) == 'MultiDatasetsEvaluator'
        path, nodes = ((key,), nodes['metrics'][:1]) if several else ((key, 'metrics'), nodes['metrics'])
    file, has_masks = part.facts.path.as_posix(), part.facts.masks >= 0.5
    if isinstance(nodes, Mapping) and is_coco_metric(nodes):
        new = _measuring(nodes, file, has_masks)
        if unknown := [name for name in nodes if name not in new]:
            yield Edit(path, new, f'{name_of(nodes)} has no argument {", ".join(unknown)}')
            return
        yield from (Edit((*path, name), value) for name, value in new.items() if value != nodes.get(name))
        return
    listed = [nodes] if isinstance(nodes, Mapping) else nodes
    ours = dict(type='OfficialCocoMetric', ann_file=file, metric=['bbox', 'segm'] if masks and has_masks else 'bbox')
    kept = [_measuring(node, file, has_masks) for node in listed if is_coco_metric(node)] or [ours]
    dropped = [name_of(node) for node in listed if not is_coco_metric(node)]
    yield Edit(path, kept, f'without {", ".join(dropped)}' if dropped else '')


def _measuring(node: Mapping, file: str, has_masks: bool) -> dict[str, Any]:
    """A COCO metric that measures, on another file: of masks, only where there are some.

    Without arguments that its class does not take, as MMDetection's config of Pascal VOC for COCO files has one.
    """
    unknown = arguments_not_taken(node, metric_class(node))
    new = dict({key: value for key, value in node.items() if key not in unknown}, ann_file=file)
    if new.get('format_only'):
        new['format_only'] = False
    metric = new.get('metric')
    if not has_masks and metric and 'segm' in metric:
        new['metric'] = [kind for kind in ([metric] if isinstance(metric, str) else metric) if kind != 'segm'] or 'bbox'
    return new


def _count(config: Config, names: Sequence[str], classes: Sequence[str]) -> Iterator[Edit]:
    """Sets the number of classes wherever the model has that of the old data; a head of proposals has its own.

    Raises:
        ConfigError: It is not clear where that is.
    """
    nodes = [(path, node) for path, node in mappings_at(config, ('model',)) if 'rpn_head' not in path]
    # Heads that do not tell classes apart have one.
    counts = {node[key] for _, node in nodes for key in COUNTS if node.get(key, 1) != 1} or {1}
    if len(counts) > 1:
        raise ConfigError(
            f'the model has {" and ".join(COUNTS)} = {sorted(counts)}, its data {len(names)} classes: it is not clear '
            'which number --data has to change. Set them in the config to the number of your classes'
        )
    (old,) = counts
    if tuple(names) == tuple(classes):
        return
    for path, node in nodes:
        yield from (Edit((*path, key), len(classes)) for key in COUNTS if node.get(key) == old != len(classes))
        if (weights := node.get('class_weight')) and isinstance(weights, Sequence):
            yield Edit((*path, 'class_weight'), _weights(weights, old, len(classes), f'{dotted(path)}.class_weight'))


def _weights(weights: Sequence[float], old: int, new: int, name: str) -> list[float]:
    """Weights of another number of classes; the last one may be that of the background.

    Raises:
        ConfigError: They differ between the classes of the base.
    """
    if len(set(weights[:old])) > 1:
        raise ConfigError(f'{name} = {list(weights)} has weights of the classes of the base: set those of your classes')
    return [*list(weights[:1]) * new, *weights[old:]]
