"""Checkpoints that torch's safe loader can read.

MMEngine 0.10.7 stores pickled objects, its own and NumPy's, beside the weights. Since torch 2.6, `torch.load` accepts
only plain containers and tensors by default and refuses such a file, so a run can neither resume nor be tested from it.
The hook here writes the same content in plain form. Nothing is allow-listed and nothing is unpickled.
"""

from collections import OrderedDict
from collections.abc import Mapping
from types import FunctionType
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from fishnet_mmdet.training.checkpoints.reader import drop_code

WEIGHTS = 'state_dict'


@HOOKS.register_module()
class PlainCheckpoints(Hook):
    """Writes every checkpoint as plain containers and tensors, and restores MMEngine's objects on loading.

    Works beside MMEngine's CheckpointHook and needs no argument. It does not help with files of stock MMEngine: torch
    refuses them before a hook could see them.
    """

    # The last hook to see a checkpoint before it is written, so that the entries of other hooks become plain too.
    priority = 'LOWEST'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Converts the content to plain form, in place; what has no plain form is left out with a warning."""
        left_out: list[str] = []
        for key in checkpoint:
            if key != WEIGHTS:
                checkpoint[key] = to_plain(checkpoint[key], key, left_out)
        if left_out:
            runner.logger.warning(f'Left out of the checkpoint, because it has no plain form: {", ".join(left_out)}')

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Rebuilds the message hub's histories, in place, and removes what MMEngine would execute."""
        drop_code(checkpoint)
        _drop_lost_functions(checkpoint.get('param_schedulers'))
        scalars = checkpoint.get('message_hub', {}).get('log_scalars', {})
        for name, value in scalars.items():
            if isinstance(value, Mapping):
                scalars[name] = HistoryBuffer(value['values'].tolist(), value['counts'].tolist(), value['max_length'])


def _drop_lost_functions(states: Any) -> None:
    """Removes, in place, what a file has for OneCycleLR's function; the scheduler keeps its own."""
    for state in states.values() if isinstance(states, Mapping) else states or ():
        if isinstance(state, list):
            _drop_lost_functions(state)
        elif isinstance(state, dict) and state.get('anneal_func', '') is None:
            del state['anneal_func']


def to_plain(value: Any, place: str, left_out: list[str]) -> Any:
    """Converts to what `torch.load(weights_only=True)` reads: None, numbers, strings, tensors and containers of them.

    Args:
        value: Any part of a checkpoint beside the weights.
        place: Its place in the checkpoint, for the report.
        left_out: Receives the place of each value that has no plain form. None replaces such a value.
    """
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, HistoryBuffer):
        values, counts = value.data
        return {
            'values': torch.as_tensor(np.asarray(values, dtype=np.float64)),
            'counts': torch.as_tensor(np.asarray(counts, dtype=np.float64)),
            'max_length': value.max_length,
        }
    if isinstance(value, Mapping):
        kind = OrderedDict if isinstance(value, OrderedDict) else dict
        # MMEngine's OneCycleLR has a function in its state, which the config gives it again.
        kept = ((k, v) for k, v in value.items() if not isinstance(v, FunctionType))
        return kind((to_plain(k, place, left_out), to_plain(v, f'{place}.{k}', left_out)) for k, v in kept)
    if isinstance(value, list | tuple):
        kind = list if isinstance(value, list) else tuple
        return kind(to_plain(v, f'{place}[{i}]', left_out) for i, v in enumerate(value))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biuf':
        return torch.from_numpy(value)
    # Subclasses, such as those of enums.
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    left_out.append(f'{place} ({type(value).__name__})')
    return None
