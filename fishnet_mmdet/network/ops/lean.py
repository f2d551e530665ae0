"""When an operation of this folder takes the place of torch's own."""

import torch
from torch import Tensor

from fishnet_mmdet.network.ops.compiling import is_compiling


def keeps_for_backward(x: Tensor) -> bool:
    """Whether autograd is about to keep something of `x`, so that a lean operation saves memory."""
    return not is_traced(x) and x.requires_grad and torch.is_grad_enabled()


def is_traced(x: Tensor) -> bool:
    """Whether a compiler or a tracer looks on (`torch.compile`, `torch.jit.trace`, `torch.export`, `torch.fx`).

    They get torch's own operations: they know these, and decide by themselves what to keep.
    """
    # torch.fx has proxies in place of tensors.
    return not isinstance(x, Tensor) or is_compiling() or torch.jit.is_tracing()
