"""Converts checkpoints of stock MMEngine to plain form without executing anything in them.

Besides tensors, such a file asks an unpickler for MMEngine's HistoryBuffer, for NumPy's arrays, scalars and dtypes, and
for `getattr`, by which HistoryBuffer refers to four of its methods. torch's restricted unpickler gets stand-ins for
exactly these names. They decode bytes and can do nothing else. The unpickler refuses every other name.
"""

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from fishnet_mmdet.base import outputs
from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.training.checkpoints.plain import WEIGHTS, to_plain
from fishnet_mmdet.training.checkpoints.position import position_of
from fishnet_mmdet.weights import reading, writing
from fishnet_mmdet.weights.errors import WeightsError

KINDS = 'biuf'
"""Kinds of NumPy dtypes that are accepted: booleans, integers, floats."""


class _DType:
    """Stands for `numpy.dtype`: the type of a number."""

    def __new__(cls, name: str = '', *flags: Any) -> '_DType':
        """Takes what NumPy pickles, such as `dtype('f8', False, True)`."""
        self = super().__new__(cls)
        if not isinstance(name, str) or name[:1] not in KINDS or not name[1:].isdecimal():
            raise pickle.UnpicklingError(f'unsupported global numpy.dtype({name!r})')
        self.dtype = np.dtype(name)
        return self

    def __setstate__(self, state: tuple) -> None:
        if state[1] in ('<', '>'):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands for `numpy.ndarray`."""

    value: np.ndarray = np.empty(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, content = state
        order = 'F' if fortran else 'C'
        self.value = np.frombuffer(_bytes(content), _known(dtype)).reshape(shape, order=order).copy()


def _reconstruct(kind: type, shape: tuple, code: bytes) -> _Array:
    """Stands for NumPy's function that creates an empty array; `__setstate__` fills it."""
    return _Array()


def _scalar(dtype: _DType, content: bytes) -> Any:
    """Stands for NumPy's function that creates a scalar."""
    return np.frombuffer(_bytes(content), _known(dtype), count=1)[0].item()


class _History:
    """Stands for MMEngine's HistoryBuffer."""

    state: Mapping[str, Any] = {}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        if not isinstance(state, Mapping):
            raise pickle.UnpicklingError(f'unsupported global HistoryBuffer of {type(state).__name__}')
        self.state = state


def _method_of_history(owner: Any, name: str) -> None:
    """Stands for `getattr`, by which old files ask for methods of HistoryBuffer. They are not needed."""
    if owner is not _History or name not in ('min', 'max', 'current', 'mean'):
        raise pickle.UnpicklingError(f'unsupported global getattr({owner!r}, {name!r})')


def _known(dtype: Any) -> np.dtype:
    if type(dtype) is not _DType:
        raise pickle.UnpicklingError(f'unsupported global numpy.ndarray of {type(dtype).__name__}')
    return dtype.dtype


def _bytes(content: Any) -> bytes:
    if not isinstance(content, bytes):
        raise pickle.UnpicklingError(f'unsupported global numpy.ndarray of {type(content).__name__}')
    return content


STAND_INS = [
    (_History, 'mmengine.logging.history_buffer.HistoryBuffer'),
    (_method_of_history, 'builtins.getattr'),
    (_method_of_history, '__builtin__.getattr'),
    (_Array, 'numpy.ndarray'),
    (_DType, 'numpy.dtype'),
    *((_reconstruct, f'numpy.{core}.multiarray._reconstruct') for core in ('core', '_core')),
    *((_scalar, f'numpy.{core}.multiarray.scalar') for core in ('core', '_core')),
]
"""All names that an old file may ask for beyond those that torch allows."""


def convert(source: Path | str, target: Path | str) -> tuple[int, int, list[str]]:
    """Writes an old checkpoint in the plain form that a resume reads.

    Args:
        source: A checkpoint of stock MMEngine.
        target: The file to write, ending in .pth; it must not exist.

    Returns:
        Epoch and iteration of the checkpoint, and the places of what had no plain form and was left out.

    Raises:
        WeightsError: The source is damaged, asks for any name but those above, or cannot be resumed from; or the target
            cannot be written. Nothing is left behind.
    """
    target = Path(target)
    if target.suffix != '.pth' or target.exists() or not target.resolve().parent.is_dir():
        raise WeightsError(f'{target}: the file to write must end in .pth, must not exist, and its folder must exist')
    if not hasattr(torch.serialization, 'safe_globals'):
        raise WeightsError(
            f'torch {torch.__version__} has no restricted unpickler that takes stand-ins: install torch 2.6 or newer'
        )
    content = reading.read_checkpoint(source, allow=STAND_INS)
    position_of(content, Path(source))
    left_out: list[str] = []
    try:
        plain = {
            key: _weights(value, source) if key == WEIGHTS else to_plain(_real(value, source), key, left_out)
            for key, value in content.items()
        }
    except (TypeError, ValueError, RecursionError) as error:
        # Arrays as keys, for example, or lists that contain themselves.
        raise WeightsError(f'{source} is not a checkpoint that MMEngine wrote: {error}') from error
    with outputs.writing('NEW', target):
        write_atomically(target, writing.torch_bytes(plain))
    return plain['meta']['epoch'], plain['meta']['iter'], left_out


def _weights(state: Mapping[str, Any], source: Path | str) -> OrderedDict:
    """A state dict of tensors only, with the version metadata that torch stores beside them."""
    odd = next((key for key, value in state.items() if not isinstance(value, torch.Tensor)), None)
    if odd is not None:
        raise WeightsError(f'{source}: {odd} of the weights is a {type(state[odd]).__name__}, not a tensor')
    weights = OrderedDict(state)
    weights._metadata = to_plain(_real(getattr(state, '_metadata', {}), source), WEIGHTS, [])
    return weights


def _real(value: Any, source: Path | str) -> Any:
    """Replaces stand-ins by the values that they stand for, in containers of any depth."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, _History):
        parts = [value.state.get(key) for key in ('_log_history', '_count_history')]
        length = value.state.get('max_length')
        if not all(isinstance(part, _Array) for part in parts) or not isinstance(length, int):
            raise WeightsError(f'{source} is damaged: a history of the log is not made of arrays')
        values, counts = (part.value.tolist() for part in parts)
        return HistoryBuffer(values, counts, length)
    if isinstance(value, Mapping):
        return type(value)((_real(k, source), _real(v, source)) for k, v in value.items())
    if isinstance(value, list | tuple):
        return type(value)(_real(v, source) for v in value)
    if isinstance(value, _DType | type) or callable(value) and not isinstance(value, torch.Tensor):
        raise WeightsError(f'{source}: a bare {value!r} where a value should be')
    return value
