"""What a figure is about: a backbone, named on a command line by a layout's name or by a config file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from fishnet_mmdet.errors import UserError
from fishnet_mmdet.network.arch import ARCHS, FishNetArch, resolve_arch
from fishnet_mmdet.network.fishnet import FishNet

RESNETS = {'resnet18': 18, 'resnet34': 34, 'resnet50': 50, 'resnet101': 101, 'resnet152': 152}
"""Names of the networks to compare with, and their depths."""


class FigureError(UserError, ValueError):
    """What was asked for cannot be drawn; the message names it, its value and what to do."""


def read_backbone(what: str) -> tuple[str, dict[str, Any]]:
    """Finds a backbone by what a user typed.

    Args:
        what: A name of `ARCHS` ('fishnet150', or short '150'), a name of `RESNETS`, or a config file with a
            `model.backbone`.

    Returns:
        A name for titles and files, and the backbone's config without `init_cfg`: no weights are fetched for a figure.

    Raises:
        FigureError: There is no such name or file, or the file has no backbone.
    """
    if what in RESNETS:
        # as first published: mmdet's would begin with every residual branch switched off
        return what, dict(type='ResNet', depth=RESNETS[what], zero_init_residual=False)
    if not what.endswith('.py'):
        try:
            resolve_arch(what)
        except ValueError:
            names = ', '.join([*ARCHS, *RESNETS])
            raise FigureError(f'{what} is no layout; give one of {names}, or a config file (.py)') from None
        return f'fishnet{what}' if f'fishnet{what}' in ARCHS else what, dict(type='FishNet', arch=what)
    if not Path(what).is_file():
        raise FigureError(f'{what}: there is no such config file')
    try:
        config = Config.fromfile(what)
    except Exception as error:  # a config is a program: anything may go wrong in it
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise FigureError(f'{what} cannot be read as a config: {first}') from error
    backbone = (config.get('model') or {}).get('backbone')
    if not isinstance(backbone, Mapping):
        raise FigureError(f'{what} has no model.backbone; give the config of a detector or a classifier')
    return Path(what).stem, {key: value for key, value in backbone.items() if key != 'init_cfg'}


def read_layout(what: str) -> tuple[str, FishNetArch]:
    """As `read_backbone`, for a FishNet only.

    Returns:
        A name and the layout.

    Raises:
        FigureError: Not a FishNet, or one that cannot be built.
    """
    name, config = read_backbone(what)
    kind = str(config.get('type'))
    if kind.split('.')[-1] != 'FishNet':
        raise FigureError(f'{what}: its backbone is a {kind}, not a FishNet; only a FishNet is a fish')
    try:
        return name, resolve_arch(config.get('arch', 'fishnet150'))
    except ValueError as error:
        raise FigureError(f'{what}: {error}') from error


def build_backbone(config: Mapping) -> nn.Module:
    """Builds FishNet or mmdet's ResNet from a config, every weight free to learn: the network, not the recipe.

    Raises:
        FigureError: Another kind of network, or one that cannot be built.
    """
    arguments = {k: v for k, v in config.items() if k not in ('type', 'frozen_stages', 'norm_eval')}
    if 'norm_cfg' in arguments:
        arguments['norm_cfg'] = {**arguments['norm_cfg'], 'requires_grad': True}
    kind = str(config.get('type')).split('.')[-1]
    try:
        if kind == 'FishNet':
            return FishNet(**arguments)
        if kind == 'ResNet':
            return _resnet(arguments)
    except (TypeError, ValueError, KeyError) as error:
        raise FigureError(f'backbone of type {kind} cannot be built: {error}') from error
    raise FigureError(f'backbone of type {kind} is not known here; FishNet and ResNet are')


def _resnet(arguments: dict[str, Any]) -> nn.Module:
    # mmdet takes seconds to import, and most uses need it not.
    from mmdet.models.backbones import ResNet

    with DefaultScope.overwrite_default_scope('mmdet'):
        return ResNet(**arguments, frozen_stages=-1, norm_eval=False)
