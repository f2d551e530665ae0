"""Norms and tensors for tests of the lean operations, and what they keep for backward."""

import torch
from torch import nn

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def same(a, b):
    """Bit for bit but for the sign of zero; NaN where NaN is."""
    return a.dtype == b.dtype and torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(), b.nan_to_num())


def norm_of(channels=6, *, live=False, learns=False, kind=nn.BatchNorm2d, **options):
    """A BatchNorm with nothing at its default."""
    norm = kind(channels, eps=1e-3, **options)
    for value in (norm.running_mean, norm.weight, norm.bias):
        if value is not None:
            nn.init.normal_(value)
    if norm.running_var is not None:
        nn.init.uniform_(norm.running_var, 0.5, 2)
    return norm.train(live).requires_grad_(learns)


def leaf(*shape, layout=torch.contiguous_format, **options):
    return torch.randn(*shape, **options).contiguous(memory_format=layout).requires_grad_()


def kept_by(work):
    """What a piece of work saves for backward, each storage once, and what it returns."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = work()
    return list(kept.values()), result
