"""Reads weight files and checkpoints without ever executing what is in them.

The kind of a file is judged by its bytes, not by its name. Tensors come from safetensors, or from
`torch.load(weights_only=True)`.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from fishnet_mmdet.base.hashes import file_hash
from fishnet_mmdet.weights.containers import MAX_BYTES, reason, sniff, unpack
from fishnet_mmdet.weights.errors import WeightsError
from fishnet_mmdet.weights.hashes import content_hash
from fishnet_mmdet.weights.notes import from_strings
from fishnet_mmdet.weights.torch_files import read_torch

COMPUTED = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types of real numbers that torch computes with; others only store them."""

STATE_KEYS = ('state_dict', 'model_state_dict', 'model')
"""Keys under which checkpoints keep their weights, if not at the top."""

AVERAGE_KEYS = ('state_dict_ema', 'model_ema')
"""Keys under which other trainers keep averaged weights. MMEngine keeps the average in `state_dict`."""

MMENGINE_LIVE = 'ema_state_dict'
"""Key under which MMEngine's EMAHook keeps the live weights, in a wrapper with a counter of its own."""

WRAPPERS = ('module.', '_orig_mod.')
"""Prefixes that DataParallel and torch.compile put before every key."""

Take = Literal['average', 'live']


@dataclass
class WeightFile:
    """The content of a weight file.

    Attributes:
        path: The file.
        state: Weights by key, on the CPU. Keys are as in the file, without the prefixes of wrappers.
        meta: The file's own notes (MMEngine's `meta`, the metadata of safetensors).
        sha256: SHA-256 of the file, in hexadecimal digits.
        notes: Remarks for the summary line, such as which of two sets of weights was taken.
    """

    path: Path
    state: dict[str, Tensor]
    meta: dict[str, Any]
    sha256: str
    notes: list[str] = field(default_factory=list)


def read(path: Path | str, take: Take | None = None) -> WeightFile:
    """Reads a weight file: safetensors, torch's zip and legacy formats, or a zip that holds one such file.

    Args:
        path: The file.
        take: Which weights to take from a checkpoint that holds averaged (EMA) and live ones; by default those in
            its `state_dict`.

    Raises:
        WeightsError: The file is not a weight file, is damaged or too large, or asks for more than tensors and
            plain containers.
    """
    path = Path(path)
    # A file that is here may be large, but not unpack to much more than its size.
    container = sniff(path, max(MAX_BYTES, 2 * path.stat().st_size) if path.is_file() else MAX_BYTES)
    if container == 'zip of a file':
        return _read_packed(path, take)
    if container == 'safetensors':
        content, meta = _read_safetensors(path)
        file = WeightFile(path, content, meta, file_hash(path))
    else:
        content = read_torch(path, container)
        state, notes = _choose_state(content, take, path)
        meta = content.get('meta')
        meta = dict(meta) if isinstance(meta, Mapping) else {}
        file = WeightFile(path, state, meta, file_hash(path), notes)
    _check_state(file)
    _check_content_hash(file)
    return file


def read_checkpoint(path: Path | str, allow: Sequence[tuple[Any, str]] = ()) -> dict[str, Any]:
    """Reads a whole checkpoint of a training: weights, optimizer, notes. Its size is not limited.

    Args:
        path: A file of torch, in its zip or legacy format.
        allow: Pairs of an object and the full name that it replaces while the file is unpickled.

    Raises:
        WeightsError: As `read`.
    """
    path = Path(path)
    container = sniff(path, limit=None)
    if not container.startswith('torch'):
        raise WeightsError(f'{path} holds only weights (a {container}), not the checkpoint of a training')
    return dict(read_torch(path, container, allow))


def _read_packed(path: Path, take: Take | None) -> WeightFile:
    with tempfile.TemporaryDirectory() as scratch:
        inner = Path(scratch) / 'weights'
        unpack(path, inner)
        try:
            if sniff(inner) == 'zip of a file':
                raise WeightsError(f'{path} is a zip of a zip: refused')
            file = read(inner, take)
        except WeightsError as error:
            raise WeightsError(str(error).replace(str(inner), f'the file in {path}')) from error
    file.path, file.sha256 = path, file_hash(path)
    return file


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safetensors.safe_open(path, 'pt') as file:
            meta = from_strings(file.metadata() or {})
        return safetensors.torch.load_file(path), meta
    except (safetensors.SafetensorError, RuntimeError, ValueError, KeyError, OSError) as error:
        raise WeightsError(f'{path} is a damaged safetensors file: {reason(error)}') from error


def _choose_state(content: Mapping, take: Take | None, path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Finds the weights of a checkpoint, and a note where there was a choice."""
    key = next((k for k in STATE_KEYS if isinstance(content.get(k), Mapping)), None)
    state = content if key is None else content[key]
    average = next((k for k in AVERAGE_KEYS if isinstance(content.get(k), Mapping)), None)
    live = content.get(MMENGINE_LIVE) if isinstance(content.get(MMENGINE_LIVE), Mapping) else None
    notes = []
    if take == 'average' and average:
        state, notes = content[average], [f'averaged weights, of {average!r}']
    elif take == 'live' and live is not None:
        # MMEngine's AveragedModel keeps a counter of its steps among the weights.
        state = {k: v for k, v in live.items() if k != 'steps'}
        notes = ['live weights']
    elif live is not None:
        notes = ['averaged weights']
    elif take == 'average':
        raise WeightsError(f'{path} holds no averaged (EMA) weights; it holds {", ".join(map(str, content))}')
    return _without_wrappers(state, path), notes


def _without_wrappers(state: Mapping, path: Path) -> dict[str, Tensor]:
    keys = [key for key in state if isinstance(key, str)]
    if len(keys) != len(state):
        odd = next(key for key in state if not isinstance(key, str))
        raise WeightsError(f'{path}: the key {odd!r} of the weights is not a string')
    stripped = dict(state)
    while prefix := next((p for p in WRAPPERS if stripped and all(k.startswith(p) for k in stripped)), None):
        stripped = {key.removeprefix(prefix): value for key, value in stripped.items()}
    return stripped


def _check_state(file: WeightFile) -> None:
    if not file.state:
        raise WeightsError(f'{file.path} holds no weights')
    for key, value in file.state.items():
        if not isinstance(value, Tensor):
            raise WeightsError(f'{file.path}: {key} is a {type(value).__name__}, not a tensor')
        plain = value.layout == torch.strided and not value.is_quantized and not value.is_complex()
        # A tensor of a few bytes may state any size. Nothing is computed with such a tensor.
        if not plain or value.device.type != 'cpu' or value.nbytes > value.untyped_storage().nbytes():
            raise WeightsError(f'{file.path}: {key} is not a plain dense tensor')
        if value.is_floating_point() and value.dtype not in COMPUTED:
            kind = str(value.dtype).removeprefix('torch.')
            raise WeightsError(f'{file.path}: {key} is {kind}, with which torch does not compute: write it as float16')
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise WeightsError(f'{file.path}: {key} is not finite; the file is damaged, or its training diverged')
        if key.endswith('running_var') and bool((value < 0).any()):
            raise WeightsError(f'{file.path} is damaged: {key}, a variance, is negative')


def _check_content_hash(file: WeightFile) -> None:
    expected = file.meta.get('content_sha256')
    if expected and content_hash(file.state) != expected:
        raise WeightsError(
            f'{file.path} is damaged: its tensors are not those that were written (content_sha256). Convert it again'
        )
