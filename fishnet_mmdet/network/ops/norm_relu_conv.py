"""Norm, ReLU and convolution as one operation that keeps only its input, under live and under fixed BN.

Torch keeps the input of BN and the output of ReLU, which the convolution needs. Here backward computes the output of
ReLU again, from the input of BN and the statistics of the batch, which are one number for each channel.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from fishnet_mmdet.network.ops.lean import is_traced
from fishnet_mmdet.network.ops.norm_relu import is_watched

KNOWS_AUTOCAST = hasattr(torch, 'get_autocast_dtype')
"""Since torch 2.4."""


def can_recompute(norm: nn.Module, conv: nn.Module, x: Tensor) -> bool:
    """Whether `norm_relu_conv` can take these: a plain BatchNorm, a plain convolution and a map that is not empty.

    Others (SyncBN, GN), and those with hooks, as pruning sets them, take torch's checkpoint. Before torch 2.4 all do.
    """
    return (
        type(norm) is nn.BatchNorm2d
        and type(conv) is nn.Conv2d
        and not is_watched(norm)
        and not is_watched(conv)
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
        and torch.is_grad_enabled()
        and KNOWS_AUTOCAST
        and not is_traced(x)  # a compiler understands torch's checkpoint
        and x.numel() > 0
    )


def norm_relu_conv(norm: nn.BatchNorm2d, conv: nn.Conv2d, x: Tensor) -> Tensor:
    """`conv(relu(norm(x)))`, the same bit for bit, with only `x` kept for backward; gradients agree within rounding.

    Shape: (N, C, H, W) -> (N, C', H', W'), as `conv` makes it. Running statistics are updated once.
    """
    if norm.training:
        norm.num_batches_tracked.add_(1)
    device = x.device.type
    weight, bias = conv.weight, conv.bias
    # Autocast does not reach into an operation of our own.
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        weight, bias = weight.to(dtype), bias if bias is None else bias.to(dtype)
    statistics = norm.running_mean, norm.running_var, norm.training, norm.momentum, norm.eps
    geometry = conv.stride, conv.padding, conv.dilation, conv.groups
    return NormReLUConv.apply(x, norm.weight, norm.bias, weight, bias, statistics, geometry)


class NormReLUConv(torch.autograd.Function):
    """Torch's own kernels, one after the other; backward runs BN and ReLU again first."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        scale: Tensor,
        shift: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        statistics: tuple[Tensor, Tensor, bool, float, float],
        geometry: tuple[tuple[int, int], tuple[int, int], tuple[int, int], int],
    ) -> Tensor:
        """Keeps `x` and, under live BN, mean and 1 / deviation of the batch."""
        y, mean, inverse = torch.native_batch_norm(x, scale, shift, *statistics)
        ctx.save_for_backward(x, scale, shift, weight, mean, inverse)
        ctx.statistics, ctx.geometry, ctx.has_bias = statistics, geometry, bias is not None
        return F.conv2d(y.relu_().to(weight.dtype), weight, bias, *geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Runs BN and ReLU again, then goes back through convolution, ReLU and BN."""
        x, scale, shift, weight, mean, inverse = ctx.saved_tensors
        running_mean, running_var, live, _, eps = ctx.statistics
        # With known statistics, live BN is computed as fixed BN: one pass over the map instead of two.
        known = (mean, inverse.pow(-2).sub_(eps)) if live else (running_mean, running_var)
        y = torch.native_batch_norm(x, scale, shift, *known, False, 0.0, eps)[0].relu_()

        stride, padding, dilation, groups = ctx.geometry
        needs = ctx.needs_input_grad
        to_y, to_weight, to_bias = torch.ops.aten.convolution_backward(
            grad, y.to(weight.dtype), weight, [len(weight)] if ctx.has_bias else None,
            stride, padding, dilation, False, [0, 0], groups, [any(needs[:3]), needs[3], needs[4]],
        )  # fmt: skip
        if to_y is None:
            return None, None, None, to_weight, to_bias, None, None
        to_norm = torch.ops.aten.threshold_backward(to_y.to(y.dtype), y, 0)
        to_x, to_scale, to_shift = torch.ops.aten.native_batch_norm_backward(
            to_norm, x, scale, running_mean, running_var, mean, inverse, live, eps, needs[:3]
        )
        return to_x, to_scale, to_shift, to_weight, to_bias, None, None
