"""Memory formats: the one of a tensor, and a whole model in channels_last."""

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from fishnet_mmdet.network.ops.lean import is_recorded


def memory_format_of(x: Tensor) -> torch.memory_format:
    """`torch.channels_last` for a tensor (N, C, H, W) in that format only, else `torch.contiguous_format`."""
    # torch.fx has proxies in place of tensors, whose format is not known.
    if not isinstance(x, Tensor):
        return torch.contiguous_format
    both = x.is_contiguous(), x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if both == (False, True) else torch.contiguous_format


class OutOfChannelsLast(torch.autograd.Function):
    """Converts a map to a memory format; its gradient comes back in channels_last.

    A contiguous gradient would stay contiguous through sums and concatenations, and be converted at each convolution.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, memory_format: torch.memory_format) -> Tensor:
        """The map, copied where its format changes."""
        return x.contiguous(memory_format=memory_format)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        """The gradient, copied where its format changes."""
        return grad.contiguous(memory_format=torch.channels_last), None


def out_of_channels_last(x: Tensor, memory_format: torch.memory_format) -> Tensor:
    """Converts a map to a memory format, with `OutOfChannelsLast` where nobody records the operations."""
    return x.contiguous(memory_format=memory_format) if is_recorded(x) else OutOfChannelsLast.apply(x, memory_format)


def models_with_backbone(model: nn.Module) -> list[nn.Module]:
    """Returns the models that have a `backbone`: the model itself, or those that it wraps, at any depth.

    Wrappers are those of several processes, of test-time augmentation, and of a teacher and a student. A backbone
    within one of these models is not listed again.
    """
    if isinstance(getattr(model, 'backbone', None), nn.Module):
        return [model]
    return [inner for child in model.children() for inner in models_with_backbone(child)]


def to_channels_last(model: nn.Module, entry: nn.Module) -> None:
    """Converts a detector to channels_last, in place: its weights, and every map that goes through it.

    mmcv's own operations, such as RoIAlign, read memory as if it were contiguous and are silently wrong otherwise. They
    keep contiguous weights and get contiguous maps. A second call changes nothing.

    Args:
        model: The detector, or any other model.
        entry: Its part that takes the image: the backbone.
    """
    model.to(memory_format=torch.channels_last)
    entry.register_forward_pre_hook(_to_channels_last)
    for module in operations_of_mmcv(model):
        module.to(memory_format=torch.contiguous_format)
        module.register_forward_pre_hook(_to_contiguous)


def operations_of_mmcv(model: nn.Module) -> list[nn.Module]:
    """Returns the modules of `mmcv.ops`, such as RoIAlign and deformable convolutions."""
    return [m for m in model.modules() if any(kind.__module__.startswith('mmcv.ops.') for kind in type(m).__mro__)]


def _to_channels_last(_: nn.Module, inputs: tuple) -> tuple:
    return tuple(_converted(value, torch.channels_last) for value in inputs)


def _to_contiguous(_: nn.Module, inputs: tuple) -> tuple:
    return tuple(_converted(value, torch.contiguous_format) for value in inputs)


def _converted(value: object, memory_format: torch.memory_format) -> object:
    return value.contiguous(memory_format=memory_format) if isinstance(value, Tensor) and value.dim() == 4 else value
