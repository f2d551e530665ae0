"""Which memory layout a tensor has."""

import torch
from torch import Tensor


def layout_of(x: Tensor) -> torch.memory_format:
    """`torch.channels_last` for a tensor (N, C, H, W) in that layout alone, else `torch.contiguous_format`."""
    both = x.is_contiguous(), x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if both == (False, True) else torch.contiguous_format
