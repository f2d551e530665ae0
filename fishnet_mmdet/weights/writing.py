"""Writes weight files atomically."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.weights.hashes import content_hash
from fishnet_mmdet.weights.notes import as_strings

ENDINGS = ('.safetensors', '.pth')
"""Endings of the files that `write` can write."""


def write(state: Mapping[str, Tensor], meta: Mapping[str, Any], path: Path) -> None:
    """Writes weights to a file. After a crash the file is the old one, the new one or missing, never incomplete.

    Args:
        state: Weights by key.
        meta: Notes, which `reading.read` returns; `content_sha256` is added. Values are strings, or what JSON can hold.
        path: The file: safetensors if it ends in `.safetensors`, otherwise what torch and MMEngine load.
    """
    plain = {key: value.detach().clone().contiguous() for key, value in state.items()}
    notes = {**meta, 'content_sha256': content_hash(plain)}
    if path.suffix == '.safetensors':
        content = safetensors.torch.save(plain, metadata=as_strings(notes))
    else:
        content = torch_bytes({'meta': notes, 'state_dict': plain})
    write_atomically(path, content)


def torch_bytes(content: Any) -> bytes:
    """The bytes that `torch.save` would write to a file."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
