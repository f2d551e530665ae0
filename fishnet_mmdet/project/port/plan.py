"""The port of a config: all that changes, as edits and as lines for the user."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.network.arch import resolve_arch
from fishnet_mmdet.preflight.schedules import length_of
from fishnet_mmdet.project.own_data import OwnData
from fishnet_mmdet.project.port.backbone import checkpoint_of, fishnet, for_small_images, notes_of, out_indices_of
from fishnet_mmdet.project.port.bases import Base, read_base
from fishnet_mmdet.project.port.channels import Levels, channel_edits
from fishnet_mmdet.project.port.data import data_edits
from fishnet_mmdet.project.port.edits import Edit, Variable, apply
from fishnet_mmdet.project.port.norms import norm_edits
from fishnet_mmdet.project.port.preprocessing import preprocessing_edits
from fishnet_mmdet.project.port.resnets import ResNet, dotted, find_resnet
from fishnet_mmdet.project.port.safety import safety_edits
from fishnet_mmdet.project.port.writing import config_text


@dataclass(frozen=True)
class Port:
    """A config with FishNet in place of its ResNet.

    Attributes:
        base: The config that it builds on.
        edits: What changes.
        notes: What the user should know besides: what was dropped, what stays.
    """

    base: Base
    edits: list[Edit]
    notes: list[str]

    def config(self) -> Config:
        """The whole config, in memory."""
        return apply(self.base.config, self.edits)

    def with_data(self, data: OwnData) -> 'Port':
        """The same with other data.

        Args:
            data: From `find_data`.

        Raises:
            ConfigError: The config cannot take them; the message says why.
        """
        edits = [*self.edits, *data_edits(self.base.config, data)]
        return replace(self, edits=edits, notes=[*self.notes, *map(str, data.notes)])

    def text(self, folder: Path) -> str:
        """The config file, short and on its base, for a file in `folder`."""
        return config_text(self.base.config, self.base.seen_from(folder), self.edits, self.notes)

    def lines(self) -> Iterator[str]:
        """What was done, line by line."""
        for edit in self.edits:
            why = f'  ({edit.why})' if edit.why else ''
            yield f'{dotted(edit.path)} = {_short(edit.value)}{why}'
        yield from self.notes


def port_config(
    config: str | Path, arch: str | Mapping = 'fishnet150', scratch: bool = False, weights: str | None = None
) -> Port:
    """Replaces the ResNet of a config by FishNet.

    Args:
        config: A path, `mmdet::...` (`mmseg::`, `mmpretrain::`), or the name of a config that ships.
        arch: A name of `ARCHS`, or a dict as in `FishNet`.
        scratch: Whether to train from random weights: live norms, one in the neck, nothing frozen.
        weights: Pretrained weights, if not the released ones: a name of the catalogue, an address or a file.

    Raises:
        ConfigError: The config or the architecture does not exist, or FishNet cannot stand in; the message says why.
    """
    if scratch and weights:
        raise ConfigError('weights are for a pretrained backbone: give either weights or scratch')
    resolve_arch(arch)
    base = read_base(config)
    if not isinstance(base.config.get('model'), Mapping):
        raise ConfigError(f'{base.name} has no model')
    resnet, others = find_resnet(base.config.model)
    arch = for_small_images(arch, resnet)
    built = resolve_arch(arch)
    indices = out_indices_of(resnet)
    levels = Levels(resnet, indices, tuple(built.out_channels[i] for i in indices))
    backbone = fishnet(resnet, arch, None if scratch else checkpoint_of(arch, weights))
    edits = list(channel_edits(levels))
    norms: list[Edit] = []
    if scratch:
        norms = list(norm_edits(base.config, resnet, backbone, edits))
    return Port(
        base,
        [
            *safety_edits(base.config),
            *_other_weights(base.config, resnet),
            *preprocessing_edits(dict(base.config.items())),
            Edit(resnet.path, backbone, _recipe(scratch)),
            *edits,
            *norms,
        ],
        [*notes_of(resnet), *_stays(resnet, others, base.config, scratch)],
    )


def parse_arch(text: str) -> str | dict[str, Any]:
    """An architecture from the command line: a name, or a dict such as "{'base': 'fishnet150', 'width': 0.5}".

    Raises:
        ConfigError: It looks like a dict and cannot be read as one.
    """
    if not text.lstrip().startswith('{'):
        return text
    try:
        return dict(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError) as error:
        raise ConfigError(f'arch = {text} is not a dict in the notation of Python') from error


def _recipe(scratch: bool) -> str:
    if scratch:
        return "random weights: every norm learns, nothing is frozen; type='SyncBN' on several GPUs"
    return 'pretrained, as the paper trains it: every BN fixed, the stem frozen'


def _other_weights(config: Config, resnet: ResNet) -> Iterator[Edit]:
    """Weights of whole models with a ResNet in them, which would be loaded over FishNet or in its place."""
    if config.get('load_from'):
        yield Edit(('load_from',), None, 'the base starts from a checkpoint of a whole model with a ResNet')
    node = config
    for depth, key in enumerate(resnet.path[:-1], start=1):
        node, path = node[key], resnet.path[:depth]
        if node.get('pretrained'):
            yield Edit((*path, 'pretrained'), None, 'weights of the ResNet')
        if node.get('init_cfg'):
            yield Edit((*path, 'init_cfg'), None, 'weights of a whole model with a ResNet')


def _stays(resnet: ResNet, others: list[str], config: Config, scratch: bool) -> Iterator[str]:
    for other in others:
        yield f'unchanged: {other}, another ResNet'
    if 'teacher_backbone' in resnet.parent:
        yield 'unchanged: teacher_backbone'
    keys = ((config.get('optim_wrapper') or {}).get('paramwise_cfg') or {}).get('custom_keys') or {}
    slow = [key for key, value in keys.items() if 'backbone' in key and value.get('lr_mult', 1) < 1]
    length = length_of(config, None)
    if scratch and length and _is_pretrained(resnet):
        yield (
            f'unchanged: the schedule of {length.last} {length.unit}, which is meant for pretrained weights. From '
            'random weights, a detector needs about six times as many on COCO (He et al., ICCV 2019)'
        )
    if scratch and slow:
        yield (
            f'unchanged: optim_wrapper.paramwise_cfg lowers the learning rate of {", ".join(slow)}, which suits '
            'pretrained weights, not random ones'
        )


def _is_pretrained(resnet: ResNet) -> bool:
    return any(node.get('init_cfg') or node.get('pretrained') for node in (resnet.cfg, resnet.parent))


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return f'dict({", ".join(f"{k}={_short(v)}" for k, v in value.items())})'
    text = value.name if isinstance(value, Variable) else repr(value)
    return text if len(text) <= 200 else f'{text[:197]}...'
