"""Norm and ReLU as one operation, which under fixed BN keeps only its output for backward.

Torch keeps the input of a BatchNorm and the output of the ReLU behind it. Where BN is fixed (statistics and affine),
the output is enough: it is positive where ReLU passed, and the scale of BN is one constant for each channel. The next
convolution keeps that output in any case, so norm and ReLU cost no memory.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn.modules.batchnorm import _BatchNorm

from fishnet_mmdet.network.ops.lean import is_traced, keeps_for_backward


def norm_relu(norm: nn.Module, x: Tensor) -> Tensor:
    """`relu(norm(x))`, lean where `norm` is a fixed BatchNorm; the results are the same bit for bit.

    Shape: (N, C, H, W) -> (N, C, H, W). A compiler gets the plain operations and decides by itself what to keep.
    """
    if is_fixed(norm) and keeps_for_backward(x) and not is_watched(norm):
        return FixedNormReLU.apply(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.eps)
    y = norm(_safe_for_group_norm(x) if isinstance(norm, nn.GroupNorm) else x)
    # A norm that does nothing, such as nn.Identity, returns `x`, which others read too.
    return F.relu(y, inplace=y is not x)


def _safe_for_group_norm(x: Tensor) -> Tensor:
    """A map on which torch 2.11 survives the backward pass of GroupNorm on a CPU.

    It crashes on one in channels_last that needs no gradient, which is what frozen parts give.
    """
    if is_traced(x) or x.device.type != 'cpu' or x.requires_grad or not torch.is_grad_enabled():
        return x
    return x.contiguous()


def is_watched(module: nn.Module) -> bool:
    """Whether hooks wait for a call of the module itself."""
    return bool(
        module._forward_pre_hooks or module._forward_hooks or module._backward_pre_hooks or module._backward_hooks
    )


def is_fixed(norm: nn.Module) -> bool:
    """Whether a norm is a BatchNorm (or SyncBN) of constants: eval mode, running statistics, no gradient."""
    return (
        isinstance(norm, _BatchNorm)
        and not norm.training
        and norm.running_mean is not None
        and not any(p.requires_grad for p in norm.parameters())
    )


class FixedNormReLU(torch.autograd.Function):
    """relu((x - mean) / sqrt(var + eps) * weight + bias) with constants; keeps only its output."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        mean: Tensor,
        var: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
    ) -> Tensor:
        """The same two kernels as torch's own, hence the same bits."""
        y = F.batch_norm(x, mean, var, weight, bias, training=False, eps=eps).relu_()
        scale = torch.rsqrt(var + eps) if weight is None else weight * torch.rsqrt(var + eps)
        ctx.save_for_backward(y, scale)
        return y

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """ReLU's mask, from the output, times BN's scale."""
        y, scale = ctx.saved_tensors
        # Not in place: others may read the gradient, and double backward needs both steps.
        passed = torch.ops.aten.threshold_backward(grad, y, 0)
        return _scaled(passed, scale), None, None, None, None, None


def _scaled(x: Tensor, scale: Tensor) -> Tensor:
    """`x` times one number for each channel, in the dtype of `x`."""
    if x.dtype == scale.dtype:
        return x * scale[:, None, None]
    # Under AMP the scale is float32. A product would make a float32 map and convert it; a BatchNorm of known
    # statistics gives the same bits in one pass.
    half = torch.full_like(scale, 0.5)  # var + eps = 1
    return F.batch_norm(x, torch.zeros_like(scale), half, scale, training=False, eps=0.5)
