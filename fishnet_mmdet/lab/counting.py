"""Parameters, convolutions and multiply-adds of a built network, counted on the meta device, which computes nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models import get_model, list_models

from fishnet_mmdet.network.arch import ARCHS, FishNetArch
from fishnet_mmdet.network.blocks import Bottleneck
from fishnet_mmdet.network.classifier import FishNetClassifier

SIDE = 224
"""Side of the image in pixels that multiply-adds are counted for, unless another is named."""


class Counts(NamedTuple):
    """Size and cost of a built network.

    Attributes:
        parameters: Number of learnt values, without BN statistics.
        convolutions: Number of convolutions, those of shortcuts included; a linear layer counts as one.
        gmacs: Multiply-adds of the convolutions for one image, in 1e9.
    """

    parameters: int
    convolutions: int
    gmacs: float


class Part(NamedTuple):
    """One stage of a built FishNet.

    Attributes:
        part: tail, bridge, body or head, and the stage s; or the input (stem), or a part of the score.
        trunk: Input on the trunk, as `C @ 1/s`.
        skip: Input of the transfer block; None without one.
        output: Output of the stage.
        bottlenecks: Number of bottlenecks on the trunk.
        transfer: Number of bottlenecks in the transfer block.
        i_convs: Number of convolutions in place of an identity: in a shortcut, or strided to down-sample.
        convolutions: Number of all convolutions, the linear layer included.
    """

    part: str
    trunk: str
    skip: str | None
    output: str
    bottlenecks: int
    transfer: int
    i_convs: int
    convolutions: int


def convolutions(module: nn.Module) -> list[nn.Module]:
    """Every convolution of a module, and every linear layer, which is a 1x1 convolution of one pixel."""
    return [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def count(network: nn.Module, side: int = SIDE) -> Counts:
    """Counts a network on the meta device, in one forward pass of a square image."""
    macs = 0

    def add(layer: nn.Module, _: tuple, output: Tensor) -> None:
        nonlocal macs
        macs += output.numel() * layer.weight[0].numel()

    layers = convolutions(network)
    handles = [layer.register_forward_hook(add) for layer in layers]
    _forward(network, side)
    for handle in handles:
        handle.remove()
    return Counts(sum(p.numel() for p in network.parameters()), len(layers), macs / 1e9)


@lru_cache
def count_model(model: str, options: tuple[tuple[str, object], ...] = ()) -> Counts | None:
    """Builds a network by name and counts it.

    Args:
        model: A name of `ARCHS`, or of torchvision's models.
        options: Fields of the architecture that differ, or arguments of torchvision's model.

    Returns:
        None for a name or a field that does not exist here.
    """
    changes = dict(options)
    with torch.device('meta'):
        if model in ARCHS:
            if not changes.keys() <= {field.name for field in fields(FishNetArch)}:
                return None
            network = FishNetClassifier(replace(ARCHS[model], **changes))
        elif model in list_models():
            network = get_model(model, weights=None, **changes)
        else:
            return None
    return count(network)


def count_parts(arch: str | Mapping | FishNetArch) -> list[Part]:
    """Counts each stage of an architecture, in the order in which the image meets them.

    Args:
        arch: As in `FishNet`.

    Raises:
        ConfigError: No such architecture.
    """
    with torch.device('meta'):
        network = FishNetClassifier(arch)
    seen: dict[str, tuple[str, str | None, str]] = {}

    def see(name: str, args: tuple, kwargs: Mapping, output: Tensor | tuple[Tensor, ...]) -> None:
        skip = kwargs.get('skip')
        seen[name] = (_shape(args[0]), None if skip is None else _shape(skip), _shape(output))

    stages = dict(_stages(network))
    handles = [
        stage.register_forward_hook(
            lambda _, args, kwargs, output, name=name: see(name, args, kwargs, output), with_kwargs=True
        )
        for name, stage in stages.items()
    ]
    _forward(network)
    for handle in handles:
        handle.remove()
    return [Part(name, *seen[name], *_blocks(stage)) for name, stage in stages.items()]


def _stages(network: FishNetClassifier) -> Iterator[tuple[str, nn.Module]]:
    """Every part by the paper's name: stage s is a resolution, 1 = 1/4 to 4 = 1/32, at which the trunk enters."""
    fish = network.backbone
    yield 'input', fish.stem
    for row, stage in fish.stages:
        yield f'{row.part}, stage {row.level + 1}', stage
    yield 'score, convolution', network.neck
    yield 'score, linear layer', network.head


def _blocks(stage: nn.Module) -> tuple[int, int, int, int]:
    """Bottlenecks on the trunk, those of the transfer block, I-convs, convolutions."""
    blocks = [m for m in stage.modules() if isinstance(m, Bottleneck)]
    carried = getattr(stage, 'transfer', nn.Identity())
    transfer = sum(isinstance(m, Bottleneck) for m in carried.modules())
    i_convs = sum(bool(convolutions(block.shortcut)) for block in blocks)
    i_convs += len(convolutions(getattr(stage, 'down', nn.Identity())))
    return len(blocks) - transfer, transfer, i_convs, len(convolutions(stage))


def _forward(network: nn.Module, side: int = SIDE) -> None:
    with torch.no_grad(), torch.device('meta'):
        network.eval()  # mmdet's ResNet returns nothing here
        network(torch.empty(1, 3, side, side))


def _shape(features: Tensor | tuple[Tensor, ...]) -> str:
    """`C @ 1/s` of a feature map, of the last one if there are several; C of a vector."""
    last = features if isinstance(features, Tensor) else features[-1]
    return f'{last.shape[1]} @ 1/{SIDE // last.shape[2]}' if last.ndim == 4 else str(last.shape[1])
