"""The ResNet of a config: where it is, its levels, and what FishNet has no counterpart for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fishnet_mmdet.base.errors import ConfigError

KeyPath = tuple[str | int, ...]

BASIC_DEPTHS = (10, 18, 34)
"""ResNets whose levels are not four times as wide as inside."""

RESNETS = (
    'ResNet', 'ResNetV1b', 'ResNetV1c', 'ResNetV1d', 'ResNeXt', 'ResNeSt', 'Res2Net', 'SEResNet', 'SEResNeXt',
    'ResNet_CIFAR', 'DetectoRS_ResNet',
)  # fmt: skip
"""Backbones with the levels of a ResNet, which FishNet can stand in for."""

DROPPED = {
    'dcn': 'deformable convolutions',
    'plugins': 'plugins',
    'conv_cfg': 'convolutions of another kind',
    'sac': 'switchable atrous convolutions',
}
"""Arguments of a ResNet that FishNet has no counterpart for, and that a detector works without."""


@dataclass(frozen=True)
class ResNet:
    """The ResNet of a config.

    Attributes:
        path: Keys that lead to it, such as ('model', 'detector', 'backbone').
        cfg: Its settings.
        parent: The model that it is the backbone of.
    """

    path: KeyPath
    cfg: Mapping
    parent: Mapping

    @property
    def name(self) -> str:
        """Its class, without a scope such as `mmpretrain.`."""
        return self.cfg['type'].rpartition('.')[2]

    @property
    def out_indices(self) -> tuple[int, ...]:
        """Which levels it returns."""
        default = (3,) if self.cfg['type'].startswith('mmpretrain.') or 'head' in self.parent else (0, 1, 2, 3)
        return tuple(self.cfg.get('out_indices', default))

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of all its levels."""
        base = self.cfg.get('base_channels', 64)
        expansion = self.cfg.get('expansion') or (1 if self.cfg.get('depth', 50) in BASIC_DEPTHS else 4)
        return tuple(base * expansion * 2**i for i in range(4))

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of all its levels; those of dilated stages are smaller than usual."""
        stride, strides = (1 if self.name == 'ResNet_CIFAR' else 4), []
        for step in (*self.cfg.get('strides', (1, 2, 2, 2)), 2, 2, 2, 2)[:4]:
            stride *= step
            strides.append(stride)
        return tuple(strides)


def find_resnet(model: Mapping) -> tuple[ResNet, list[str]]:
    """Finds the ResNet to replace, also in a detector in a wrapper.

    Returns:
        The ResNet that is least deep in the config, the detector's first, and the names of others, which stay.

    Raises:
        ConfigError: There is none, or one in a model in which FishNet cannot stand in for it.
    """
    found = sorted(_backbones(model, ('model',)), key=lambda item: (len(item[0]), 'detector' not in item[0]))
    if not found:
        raise ConfigError('the model of this config has no backbone of its own (no key `backbone` with a type)')
    kinds = [str(cfg.get('type', cfg.get('name'))) for _, cfg, _ in found]
    if any(kind.rpartition('.')[2] == 'FishNet' for kind in kinds):
        raise ConfigError('this config has a FishNet already')
    fitting = [ResNet(*item) for item, kind in zip(found, kinds, strict=True) if kind.rpartition('.')[2] in RESNETS]
    if not fitting:
        names = ', '.join(f'{dotted(path)} is a {kind}' for (path, _, _), kind in zip(found, kinds, strict=True))
        raise ConfigError(f'{names}: FishNet stands in for {", ".join(RESNETS)} only')
    resnet, *others = fitting
    _refuse(resnet)
    return resnet, [dotted(other.path) for other in others]


def dotted(path: KeyPath) -> str:
    """A path as the command line writes it."""
    return '.'.join(map(str, path))


def _backbones(node: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Mapping, Mapping]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == 'backbone' and isinstance(value, Mapping):
                yield (*path, key), value, node
            else:
                yield from _backbones(value, (*path, key))


def _refuse(resnet: ResNet) -> None:
    where = dotted(resnet.path[:-1])
    necks = resnet.parent.get('neck')
    for neck in necks if isinstance(necks, Sequence) else (necks,):
        if neck and neck['type'] in ('RFP', 'JPU'):
            raise ConfigError(
                f'{where}.neck is a {neck["type"]}, which is built for the stages of a ResNet: use the FPN config of '
                'this model'
            )
