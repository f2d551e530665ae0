"""`is_compiling` of torch, by its name in every version of torch."""

try:
    from torch.compiler import is_compiling
except ImportError:  # before torch 2.1
    from torch._dynamo import is_compiling

__all__ = ['is_compiling']
