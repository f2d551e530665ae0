"""The backbone of a figure, given on the command line as the name of an architecture or as a config file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from fishnet_mmdet.base.config_files import config_names, find_config
from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.network.arch import ARCHS, FishNetArch, resolve_arch
from fishnet_mmdet.network.fishnet import KAIMING_INIT, FishNet

RESNETS = {'resnet18': 18, 'resnet34': 34, 'resnet50': 50, 'resnet101': 101, 'resnet152': 152}
"""Names and depths of the ResNets that FishNet can be compared with."""


class FigureError(UserError, ValueError):
    """A request that cannot be drawn; the message names it, its value and the fix."""


def read_backbone(what: str) -> tuple[str, dict[str, Any]]:
    """Finds a backbone as it is typed on the command line.

    Args:
        what: A name of `ARCHS` ('fishnet150', or short '150'), a name of `RESNETS`, or a config file with a
            `model.backbone`.

    Returns:
        A name for titles and files, and the backbone's config without `init_cfg`, because a figure needs no weights.

    Raises:
        FigureError: An unknown name, a missing file, or a file without a backbone.
    """
    if what in RESNETS:
        # As first published; mmdet's default, like that of FishNet, starts every residual branch at zero.
        return what, dict(type='ResNet', depth=RESNETS[what], zero_init_residual=False)
    if not what.endswith('.py') and what not in config_names():
        try:
            resolve_arch(what)
        except ValueError:
            names = ', '.join([*ARCHS, *RESNETS])
            raise FigureError(f'{what} is not an architecture; give one of {names}, or a config file (.py)') from None
        return f'fishnet{what}' if f'fishnet{what}' in ARCHS else what, dict(type='FishNet', arch=what)
    path = find_config(what)
    try:
        config = Config.fromfile(path)
    except Exception as error:  # a config is a program, which may raise anything
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise FigureError(f'{what} cannot be read as a config: {first}') from error
    backbone = (config.get('model') or {}).get('backbone')
    if not isinstance(backbone, Mapping):
        raise FigureError(f'{what} has no model.backbone; give the config of a detector or a classifier')
    return Path(what).stem, {key: value for key, value in backbone.items() if key != 'init_cfg'}


def read_arch(what: str) -> tuple[str, FishNetArch]:
    """Finds an architecture of FishNet, by what `read_backbone` understands.

    Returns:
        A name for titles and files, and the architecture.

    Raises:
        FigureError: Not a FishNet, or one that cannot be built.
    """
    name, config = read_backbone(what)
    kind = str(config.get('type'))
    if kind.split('.')[-1] != 'FishNet':
        raise FigureError(f'{what}: its backbone is a {kind}, not a FishNet; give the config of a FishNet')
    try:
        return name, resolve_arch(config.get('arch', 'fishnet150'))
    except ValueError as error:
        raise FigureError(f'{what}: {error}') from error


def build_backbone(config: Mapping) -> nn.Module:
    """Builds FishNet or mmdet's ResNet from a config, with every weight trainable and BN live.

    Raises:
        FigureError: Another kind of network, or one that cannot be built.
    """
    arguments = {k: v for k, v in config.items() if k not in ('type', 'frozen_stages', 'norm_eval')}
    if 'norm_cfg' in arguments:
        arguments['norm_cfg'] = {**arguments['norm_cfg'], 'requires_grad': True}
    kind = str(config.get('type')).split('.')[-1]
    try:
        if kind == 'FishNet':
            return FishNet(**arguments, init_cfg=KAIMING_INIT)
        if kind == 'ResNet':
            return _resnet(arguments)
    except (TypeError, ValueError, KeyError) as error:
        raise FigureError(f'backbone of type {kind} cannot be built: {error}') from error
    raise FigureError(f'backbone of type {kind}: give FishNet or ResNet; others cannot be analysed')


def _resnet(arguments: dict[str, Any]) -> nn.Module:
    # mmdet takes seconds to import, and most uses do not need it.
    from mmdet.models.backbones import ResNet

    with DefaultScope.overwrite_default_scope('mmdet'):
        return ResNet(**arguments, frozen_stages=-1, norm_eval=False)
