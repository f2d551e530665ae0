"""When an operation of this folder takes the place of torch's own."""

import torch
from torch import Tensor

from fishnet_mmdet.network.ops.compiling import is_compiling

are_transforms_active = getattr(torch._C, '_are_functorch_transforms_active', lambda: False)
"""Whether a transform of `torch.func` is running. Torch has no public name for this; without it, none counts."""


def keeps_for_backward(x: Tensor) -> bool:
    """Whether autograd is about to keep something of `x`, so that a lean operation saves memory."""
    return not is_traced(x) and x.requires_grad and torch.is_grad_enabled()


def is_traced(x: Tensor) -> bool:
    """Whether a compiler or a tracer looks on: those of `is_recorded`, `torch.compile` and `torch.export`.

    They get torch's own operations: they know these, and decide by themselves what to keep.
    """
    return is_compiling() or is_recorded(x)


def is_recorded(x: Tensor) -> bool:
    """Whether `torch.jit.trace` or `torch.fx` records the operations, or `torch.func` transforms them.

    Unlike a compiler, they cannot take an operation of our own, nor torch's checkpoint.
    """
    if is_compiling():
        return False
    # torch.fx has proxies in place of tensors.
    return not isinstance(x, Tensor) or torch.jit.is_tracing() or are_transforms_active()
