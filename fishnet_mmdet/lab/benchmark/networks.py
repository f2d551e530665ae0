"""The networks that are timed, as data: FishNet, pytorchcv's FishNet, and mmdet's ResNets.

Each does the same work: from a contiguous float32 image to the four levels that a detector's neck takes.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import torch
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fishnet_mmdet.lab.counting import count
from fishnet_mmdet.network.arch import ARCHS
from fishnet_mmdet.network.fishnet import FishNet
from fishnet_mmdet.weights.namings import PYTORCHCV

INSTALL_PYTORCHCV = 'pip install pytorchcv==0.0.74'


class Network(NamedTuple):
    """A backbone to be timed.

    Attributes:
        build: Builds it with random weights. Takes `fixed`, whether BN is fixed, and arguments of `FishNet`.
        peer: Network whose eager form its ratios are against.
        requires: Name of a package that must be installed, and the command that installs it.
    """

    build: Callable[..., nn.Module]
    peer: str
    requires: tuple[str, str] | None = None


def _fishnet(arch: str, *, fixed: bool, **arguments: object) -> nn.Module:
    return FishNet(arch, norm_cfg=dict(type='BN', requires_grad=not fixed), norm_eval=fixed, **arguments)


def _resnet(kind: str, *, fixed: bool, **arguments: object) -> nn.Module:
    from mmdet.registry import MODELS  # mmdet takes seconds to import

    with DefaultScope.overwrite_default_scope('mmdet'):
        norm = dict(norm_cfg=dict(type='BN', requires_grad=not fixed), norm_eval=fixed)
        return MODELS.build(dict(type=kind, depth=50, **norm, **arguments))


class PytorchcvFishNet(nn.Module):
    """pytorchcv's FishNet without its classifier.

    Hooks collect the refined features; the code of the package is used as it is installed.

    Args:
        name: A name of pytorchcv's models.
        fixed: Whether BN is fixed: statistics and affine parameters.
    """

    def __init__(self, name: str, *, fixed: bool) -> None:
        super().__init__()
        from pytorchcv.model_provider import get_model

        features = get_model(name, pretrained=False).features
        self.init_block, self.hourglass = features.init_block, features.hg
        self.fixed = fixed
        self._refined: list[Tensor] = []
        for unit in self.hourglass.down2_seq:
            unit.blocks.register_forward_hook(lambda _, __, refined: self._refined.append(refined))
        if fixed:
            for norm in _norms(self):
                norm.requires_grad_(False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Computes the four levels of an image (N, 3, H, W) whose sides are multiples of 32."""
        last = self.hourglass(self.init_block(image))
        refined, self._refined = self._refined, []
        return (*refined, last)

    def train(self, mode: bool = True) -> 'PytorchcvFishNet':
        """Sets the mode; fixed BN stays in eval mode, as in Detectron."""
        super().train(mode)
        if self.fixed:
            for norm in _norms(self):
                norm.eval()
        return self


NETWORKS: dict[str, Network] = {
    **{name: Network(partial(_fishnet, name), peer='pytorchcv-fishnet150') for name in ARCHS},
    'fishnet99': Network(partial(_fishnet, 'fishnet99'), peer='pytorchcv-fishnet99'),
    **{
        f'pytorchcv-{name}': Network(
            partial(PytorchcvFishNet, name), f'pytorchcv-{name}', ('pytorchcv', INSTALL_PYTORCHCV)
        )
        for name in ('fishnet99', 'fishnet150')
    },
    'resnet50': Network(partial(_resnet, 'ResNet'), peer='pytorchcv-fishnet150'),
    'resnext50': Network(partial(_resnet, 'ResNeXt', groups=32, base_width=4), peer='pytorchcv-fishnet150'),
}
"""By the name on the command line. FishNet-201 and the ResNets are compared with pytorchcv's FishNet-150."""


@cache
def gmacs(network: str, side: int) -> float:
    """Multiply-adds of a network's convolutions for one square image, in 1e9.

    Args:
        network: A name of `NETWORKS`.
        side: Side of the image in pixels.
    """
    with torch.device('meta'):
        return count(NETWORKS[network].build(fixed=False), side).gmacs


@cache
def random_weights(network: str) -> dict[str, Tensor]:
    """The state dict that every form of a network starts from: weights of seed 0, and statistics of BN.

    pytorchcv's FishNet gets those of ours, so that its features are ours.
    """
    if network.startswith('pytorchcv-'):
        own = random_weights(network.removeprefix('pytorchcv-'))
        return {_pytorchcv_key(key): value for key, value in own.items()}
    torch.manual_seed(0)
    built = NETWORKS[network].build(fixed=False)
    take_statistics(built, torch.randn(2, 3, 96, 96))
    return built.state_dict()


def _pytorchcv_key(key: str) -> str:
    """The key of `PytorchcvFishNet` for one of our backbone's."""
    theirs = PYTORCHCV.from_own(f'backbone.{key}').removeprefix('features.')
    return f'hourglass.{theirs[3:]}' if theirs.startswith('hg.') else theirs


def take_statistics(network: nn.Module, image: Tensor) -> None:
    """Sets the statistics of every BN layer to those of one batch, in place.

    With fixed BN at its initial statistics (0, 1), features of random weights grow exponentially with depth.

    Args:
        network: Any network.
        image: The batch, (N, 3, H, W).
    """
    norms = _norms(network)
    before = [(norm.training, norm.momentum) for norm in norms]
    for norm in norms:
        norm.train().momentum = 1.0
    with torch.no_grad():
        network(image)
    for norm, (training, momentum) in zip(norms, before, strict=True):
        norm.train(training).momentum = momentum


def _norms(network: nn.Module) -> list[_BatchNorm]:
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]
