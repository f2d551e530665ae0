"""Finding things in a config, whatever they are wrapped in."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mmengine.fileio import list_from_file
from mmengine.registry import DATASETS, METRICS


def mappings(node: object) -> Iterator[Mapping]:
    """Every mapping in a piece of a config, from the outside in."""
    if isinstance(node, Mapping):
        yield node
    if isinstance(node, Mapping | list | tuple):
        for value in node.values() if isinstance(node, Mapping) else node:
            yield from mappings(value)


def name_of(node: Mapping) -> str:
    """The `type` of a node without its scope."""
    kind = node.get('type')
    return getattr(kind, '__name__', str(kind)).split('.')[-1]


def dataset_class(node: Mapping, scope: str = 'mmdet') -> type | None:
    """The dataset class that a node means, which `scope` registers; None for one that is not registered."""
    kind = node.get('type')
    if isinstance(kind, str):
        return DATASETS.get(kind if '.' in kind else f'{scope}.{kind}')
    return kind


def metric_class(node: Mapping) -> type | None:
    """The metric class that a node means; None for one that is not registered."""
    kind = node.get('type')
    if isinstance(kind, str):
        return METRICS.get(kind if '.' in kind else f'mmdet.{kind}')
    return kind


def class_names(dataset: Mapping, scope: str = 'mmdet') -> Sequence[str]:
    """The classes that a dataset config means: its own, or those of its dataset class, which `scope` registers.

    A text stands for the file of names that it names, as in MMEngine; one that names none is given back as it is.
    """
    own = dataset.get('metainfo', {}) or {}
    if 'classes' in own:
        names = own['classes']
        return list_from_file(names) if isinstance(names, str) and Path(names).is_file() else names
    return getattr(dataset_class(dataset, scope), 'METAINFO', {}).get('classes', ())
