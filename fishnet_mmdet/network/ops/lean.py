"""When an operation of this folder takes the place of torch's own."""

import torch
from torch import Tensor

from fishnet_mmdet.network.ops.compiling import is_compiling


def keeps_for_backward(x: Tensor) -> bool:
    """Whether autograd is about to keep something of `x`, so that a lean operation saves memory.

    Compilers and tracers (`torch.compile`, `torch.jit.trace`, `torch.export`, `torch.fx`) get torch's own operations:
    they know these, and decide by themselves what to keep.
    """
    if not isinstance(x, Tensor):
        return False  # a proxy of torch.fx
    is_traced = is_compiling() or torch.jit.is_tracing()
    return x.requires_grad and torch.is_grad_enabled() and not is_traced
