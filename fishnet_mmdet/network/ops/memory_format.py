"""Memory layouts: which one a tensor has, and a whole model in channels_last."""

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx


def memory_format_of(x: Tensor) -> torch.memory_format:
    """`torch.channels_last` for a tensor (N, C, H, W) in that layout alone, else `torch.contiguous_format`."""
    both = x.is_contiguous(), x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if both == (False, True) else torch.contiguous_format


class OutOfChannelsLast(torch.autograd.Function):
    """A map in the layout in which the next one wants it, whose gradient comes back in channels_last whatever it was.

    A contiguous gradient would stay so along every sum and concatenation, and be turned over at each convolution.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, layout: torch.memory_format) -> Tensor:
        """The map, copied where its layout changes."""
        return x.contiguous(memory_format=layout)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        """Copied likewise."""
        return grad.contiguous(memory_format=torch.channels_last), None


def to_channels_last(model: nn.Module, entry: nn.Module) -> None:
    """Lays a detector out in channels_last, in place: its weights, and every map that goes through it.

    mmcv's own operations (RoIAlign and the like) read memory as if it were contiguous and are silently wrong otherwise, so
    they keep contiguous weights and get contiguous maps. Calling it twice is as good as once.

    Args:
        model: The detector, or any other model.
        entry: The part of it that takes the image, which is its backbone.
    """
    model.to(memory_format=torch.channels_last)
    entry.register_forward_pre_hook(_to_channels_last)
    for module in model.modules():
        if any(kind.__module__.startswith('mmcv.ops.') for kind in type(module).__mro__):
            module.to(memory_format=torch.contiguous_format)
            module.register_forward_pre_hook(_to_contiguous)


def _to_channels_last(_: nn.Module, inputs: tuple) -> tuple:
    return tuple(_laid_out(value, torch.channels_last) for value in inputs)


def _to_contiguous(_: nn.Module, inputs: tuple) -> tuple:
    return tuple(_laid_out(value, torch.contiguous_format) for value in inputs)


def _laid_out(value: object, layout: torch.memory_format) -> object:
    return value.contiguous(memory_format=layout) if isinstance(value, Tensor) and value.dim() == 4 else value
