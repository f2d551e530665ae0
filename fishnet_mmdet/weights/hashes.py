"""Hashes of files and of the tensors in them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor


def file_hash(path: Path, algorithm: str = 'sha256') -> str:
    """The hash of a file, in hexadecimal digits."""
    digest = hashlib.new(algorithm)
    with path.open('rb') as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def content_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values. It does not depend on the kind of file that holds them."""
    digest = hashlib.sha256()
    for key in sorted(state):
        value = state[key].detach().contiguous()
        digest.update(json.dumps([key, str(value.dtype), list(value.shape)]).encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
