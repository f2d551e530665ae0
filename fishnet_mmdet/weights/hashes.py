"""Hashes of tensors."""

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor


def content_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values. It does not depend on the kind of file that holds them."""
    digest = hashlib.sha256()
    for key in sorted(state):
        value = state[key].detach().contiguous()
        digest.update(json.dumps([key, str(value.dtype), list(value.shape)]).encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
