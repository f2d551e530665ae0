"""Nodes of a config, dicts with the `type` of what is built from them, however deeply wrappers nest them."""

import inspect
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.fileio import list_from_file
from mmengine.registry import DATASETS, METRICS, MODELS

VARIABLE = re.compile(r'\{\{[\'"]?\s*\$(\w+)\s*:\s*(\S*?)\s*[\'"]?\}\}')
"""MMEngine's notation of an environment variable in a config, with its default: `{{$NAME:default}}`."""

LOCAL_BACKENDS = ('local', 'disk', 'atomic')
"""File backends that read this machine's disk: MMEngine's, its older name, and that of this package."""


def name_of(node: Mapping) -> str:
    """The `type` of a node, without its scope; configs of classes hold the class itself."""
    kind = node.get('type')
    return getattr(kind, '__name__', str(kind)).split('.')[-1]


def is_remote(node: Mapping) -> bool:
    """Whether a data set, a transform or a metric reads its files by a backend that is not this machine's disk."""
    arguments = node.get('backend_args') or node.get('file_client_args') or {}
    return arguments.get('backend', 'local') not in LOCAL_BACKENDS


def moving_variable(cfg: Config, path: Path) -> tuple[str, str] | None:
    """Name and present value of the environment variable of a config that is a folder above a path; None without."""
    for name, default in VARIABLE.findall(cfg.text):
        value = os.environ.get(name, default)
        if value and Path(value).resolve() in path.resolve().parents:
            return name, value
    return None


def mappings(node: object) -> Iterator[Mapping]:
    """Yields every mapping in a part of a config, outer ones first."""
    if isinstance(node, Mapping):
        yield node
    if isinstance(node, Mapping | list | tuple):
        for value in node.values() if isinstance(node, Mapping) else node:
            yield from mappings(value)


def innermost_data_sets(node: Mapping) -> Iterator[Mapping]:
    """Yields the data sets inside wrappers and concatenations; a data set without either is its own."""
    inner = node.get('datasets') or ([node['dataset']] if 'dataset' in node else [])
    for one in inner:
        yield from innermost_data_sets(one)
    if not inner:
        yield node


def model_of(config: Mapping) -> Mapping:
    """The config of the model itself, which test-time augmentation wraps."""
    return config['model'].get('module', config['model'])


def dataset_class(node: Mapping, scope: str = 'mmdet') -> type | None:
    """The class of a dataset config, looked up in `scope`; None if it is not registered."""
    kind = node.get('type')
    if isinstance(kind, str):
        return DATASETS.get(kind if '.' in kind else f'{scope}.{kind}')
    return kind


def metric_class(node: Mapping) -> type | None:
    """The class of a metric config; None if it is not registered."""
    kind = node.get('type')
    if isinstance(kind, str):
        return METRICS.get(kind if '.' in kind else f'mmdet.{kind}')
    return kind


def model_class(node: Mapping) -> type | None:
    """The class of a module of a model, which may be somebody else's of the same name; None if it is not registered."""
    kind = node.get('type')
    return MODELS.get(kind) if isinstance(kind, str) else kind


def arguments_not_taken(node: Mapping, kind: type | None) -> list[str]:
    """Keys of a config that its class takes no argument for; none if the class is not known."""
    if kind is None:
        return []
    parameters = inspect.signature(kind).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return []
    return [key for key in node if key not in parameters and key not in ('type', '_scope_')]


def class_names(dataset: Mapping, scope: str = 'mmdet') -> Sequence[str]:
    """The classes of a dataset config: its own, or those of its dataset class, which is looked up in `scope`.

    As in MMEngine, a text is the name of a file with one class name a line. If there is no such file, the text is
    returned as it is.
    """
    own = dataset.get('metainfo', {}) or {}
    if 'classes' in own:
        names = own['classes']
        return list_from_file(names) if isinstance(names, str) and Path(names).is_file() else names
    return getattr(dataset_class(dataset, scope), 'METAINFO', {}).get('classes', ())
