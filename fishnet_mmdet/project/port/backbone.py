"""The settings of the FishNet that stands in for a ResNet: levels, norms, freezing, weights."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.network.arch import FishNetArch, name_of, resolve_arch
from fishnet_mmdet.network.arch_checks import largest_group_count
from fishnet_mmdet.network.fishnet import KAIMING_INIT
from fishnet_mmdet.project.port.resnets import DROPPED, ResNet
from fishnet_mmdet.weights.catalogue import CATALOGUE, SCHEME, first_for, released


def out_indices_of(resnet: ResNet) -> tuple[int, ...]:
    """Levels that stand in for those of a ResNet: those of the same stride, if it returns one, else the same ones."""
    indices = resnet.out_indices
    strides = [resnet.strides[0] * 2**i for i in range(4)]
    if len(indices) == 1 and (stride := resnet.strides[indices[0]]) in strides:
        return (strides.index(stride),)
    return indices


def notes_of(resnet: ResNet) -> Iterator[str]:
    """Lines on what the ResNet has and FishNet has not."""
    cfg = resnet.cfg
    for key, what in DROPPED.items():
        if cfg.get(key):
            yield f'dropped: backbone.{key} ({what}), which FishNet has no counterpart for'
    usual = [resnet.strides[0] * 2**i for i in resnet.out_indices]
    strides = [resnet.strides[i] for i in resnet.out_indices]
    if strides != usual:
        new = [resnet.strides[0] * 2**i for i in out_indices_of(resnet)]
        yield (
            f'dropped: dilated stages. The levels of the {resnet.name} have strides {strides}; '
            + ('FishNet has a level at this stride' if new == strides else f'those of FishNet have {new}')
        )
    if resnet.name not in ('ResNet', 'ResNet_CIFAR'):
        yield f'dropped: what a {resnet.name} has beyond a plain ResNet, such as groups or attention'


def for_small_images(arch: Any, resnet: ResNet) -> Any:
    """The architecture, with the stem of a ResNet for CIFAR if that is what it stands in for."""
    if resnet.name != 'ResNet_CIFAR':
        return arch
    return dict(base=arch, stem_stride=1) if isinstance(arch, str) else dict(arch, stem_stride=1)


def fishnet(resnet: ResNet, arch: Any, checkpoint: str | None) -> dict[str, Any]:
    """The settings of the backbone.

    Args:
        resnet: The ResNet that it stands in for.
        arch: A name or a dict, as in `FishNet`.
        checkpoint: Where weights come from; None for training from random weights.
    """
    cfg: dict[str, Any] = dict(type='FishNet', arch=arch)
    if resnet.cfg.get('in_channels', 3) != 3:
        cfg['in_channels'] = resnet.cfg['in_channels']
    if (indices := out_indices_of(resnet)) != (0, 1, 2, 3):
        cfg['out_indices'] = indices
    if resnet.cfg.get('with_cp'):
        cfg['with_cp'] = resnet.cfg['with_cp']
    if checkpoint is None:
        if norm := scratch_norm(resnet, resolve_arch(arch)):
            cfg['norm_cfg'] = norm
        if not resnet.cfg.get('zero_init_residual', True):
            cfg['init_cfg'] = copy.deepcopy(KAIMING_INIT)
        return cfg
    return cfg | dict(
        frozen_stages=0,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint),
    )


def scratch_norm(resnet: ResNet, arch: FishNetArch) -> dict[str, Any] | None:
    """The norm of a FishNet with random weights: that of the ResNet, live; None for the default, BN."""
    norm = copy.deepcopy(dict(resnet.cfg.get('norm_cfg') or {}))
    if norm.get('type') not in ('SyncBN', 'GN'):
        return None
    norm.pop('requires_grad', None)
    if norm['type'] == 'GN':
        groups = norm.get('num_groups', 32)
        most = largest_group_count(arch)
        while most % groups:
            groups -= 1
        norm['num_groups'] = groups
    return norm


def checkpoint_of(arch: str | Mapping, weights: str | None) -> str:
    """Where pretrained weights come from.

    Args:
        arch: The architecture.
        weights: A name of the catalogue, an address or a file; None for the released weights of the architecture.

    Raises:
        ConfigError: There are no released weights.
    """
    if weights:
        return f'{SCHEME}{weights}' if weights in CATALOGUE else weights
    # The stride of the stem changes no weight.
    if name := first_for(name_of(replace(resolve_arch(arch), stem_stride=4))):
        return f'{SCHEME}{name}'
    raise ConfigError(
        f'no weights are released for arch = {arch!r} (only for {released()}): give --weights FILE, or --from-scratch '
        'to train from random weights'
    )
