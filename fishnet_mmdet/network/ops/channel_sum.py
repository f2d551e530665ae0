"""Sums of neighbouring channels in the memory format of their input; torch's own sum would leave channels_last."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from fishnet_mmdet.network.ops.compiling import is_compiling
from fishnet_mmdet.network.ops.lean import keeps_for_backward
from fishnet_mmdet.network.ops.memory_format import memory_format_of


def channel_sum(x: Tensor, k: int) -> Tensor:
    """Sums k neighbouring channels: (N, C, H, W) -> (N, C / k, H, W). Memory formats stay, the gradient's too."""
    if is_compiling():
        return x.unflatten(1, (-1, k)).sum(2)
    if keeps_for_backward(x):
        return ChannelSum.apply(x, k)
    return _add_slices(x, k)


def _add_slices(x: Tensor, k: int) -> Tensor:
    """Slice by slice: every step keeps the memory format."""
    return sum((x[:, i::k] for i in range(1, k)), start=x[:, ::k])


class ChannelSum(torch.autograd.Function):
    """k strided slices added forward, written backward; keeps nothing."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, k: int) -> Tensor:
        """The sums."""
        ctx.k = k
        return _add_slices(x, k)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        """Every one of the k gets the gradient unchanged."""
        n, channels, *sides = grad.shape
        spread = torch.empty(
            (n, channels * ctx.k, *sides),
            dtype=grad.dtype,
            device=grad.device,
            memory_format=memory_format_of(grad),
        )
        for i in range(ctx.k):
            spread[:, i :: ctx.k] = grad
        return spread, None
