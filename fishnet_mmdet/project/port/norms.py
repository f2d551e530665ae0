"""Norms behind a FishNet with random weights: in the neck, or behind each of its levels."""

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmcv.cnn import is_norm
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from fishnet_mmdet.project.port.edits import Edit, apply, value_at
from fishnet_mmdet.project.port.resnets import ResNet


def norm_edits(config: Config, resnet: ResNet, backbone: dict[str, Any], edits: Sequence[Edit]) -> Iterator[Edit]:
    """Gives the neck a norm; where it takes none, each level of FishNet gets one (`backbone` is changed).

    Args:
        config: The config of the ResNet.
        resnet: The ResNet.
        backbone: Settings of the FishNet.
        edits: Changes of the neck and the heads so far.
    """
    if any(edit.value and isinstance(edit.value, Mapping) and edit.value['type'] == 'FishNetNeck' for edit in edits):
        return
    path = (*resnet.path[:-1], 'neck')
    neck = value_at(apply(config, edits), path)
    if isinstance(neck, Sequence):
        neck, path = neck[0], (*path, 0)
    if neck:
        takes_norm, has_norm = _look_at(neck, config.get('default_scope') or 'mmengine')
        if has_norm:
            return
        if takes_norm:
            yield Edit((*path, 'norm_cfg'), dict(type='BN'), 'FishNet ends in sums without a norm')
            return
    arch = backbone['arch']
    if not isinstance(arch, Mapping) or 'levels' not in arch:
        backbone['arch'] = dict(arch if isinstance(arch, Mapping) else dict(base=arch), levels='norm_relu')


def _look_at(neck: Mapping, scope: str) -> tuple[bool, bool]:
    """Whether a neck takes `norm_cfg`, and whether there is a norm in it as it is."""
    with DefaultScope.overwrite_default_scope(scope), MODELS.switch_scope_and_registry(scope) as registry:
        kind = neck['type'] if inspect.isclass(neck['type']) else registry.get(neck['type'])
        if kind is None:
            return False, False
        takes = 'norm_cfg' in inspect.signature(kind.__init__).parameters
        built = registry.build(copy.deepcopy(neck))
        return takes, any(map(is_norm, built.modules())) or not any(True for _ in built.parameters())
