"""Finding things in a config, whatever they are wrapped in."""

from collections.abc import Iterator, Mapping, Sequence

from mmengine.registry import DATASETS


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


def class_names(dataset: Mapping, scope: str = 'mmdet') -> Sequence[str]:
    """The classes that a dataset config means: its own, or those of its dataset class, which `scope` registers."""
    own = dataset.get('metainfo', {}) or {}
    if 'classes' in own:
        return own['classes']
    return getattr(dataset_class(dataset, scope), 'METAINFO', {}).get('classes', ())
