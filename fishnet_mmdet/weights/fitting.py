"""Strict fitting: every key of the source is used or named as left out, and every key of the target is filled."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from fishnet_mmdet.weights.errors import WeightsError
from fishnet_mmdet.weights.key_naming import CLASSIFIER_LAYERS, DETECTOR_HEADS

COUNTER = 'num_batches_tracked'
"""Last part of the key of a counter."""

MAX_ROWS = 20
"""Rows of a table of misfits. With the wrong network hundreds of keys do not fit, and a few of them are enough."""


@dataclass(frozen=True)
class Misfit:
    """A key that does not fit.

    Attributes:
        problem: 'missing', 'unexpected' or 'mis-shaped'.
        key: The key in the source, or in the target where the source lacks it.
        detail: Shape and type.
    """

    problem: str
    key: str
    detail: str = ''


def fit(
    state: Mapping[str, Tensor],
    target: Mapping[str, Tensor],
    what: str,
    named: Callable[[str], str] = str,
    unexpected: tuple[str, ...] = (),
) -> dict[str, Tensor]:
    """Checks that weights fit a network, key by key, in both directions.

    Args:
        state: Weights by the target's keys.
        target: The network's `state_dict()`. Only shapes and types are used, so it may be on the meta device.
        what: Beginning of the error message, such as "FILE does not fit FishNet-150".
        named: Translates a key of the target to the key that messages show, such as the source's own.
        unexpected: Keys of the source that have no translation to the target's keys.

    Returns:
        The weights, in the order of the target.

    Raises:
        WeightsError: Keys are missing, unexpected or mis-shaped; the message has a table of them.
    """
    misfits = [Misfit('missing', named(key), shown(target[key])) for key in target if key not in state]
    misfits += [Misfit('unexpected', key) for key in unexpected]
    misfits += [Misfit('unexpected', named(key), shown(state[key])) for key in state if key not in target]
    state = {key: _as_counter(value) if key.endswith(COUNTER) else value for key, value in state.items()}
    for key in target.keys() & state.keys():
        have, want = state[key], target[key]
        if have.shape != want.shape or have.is_floating_point() != want.is_floating_point():
            misfits.append(Misfit('mis-shaped', named(key), f'{shown(have)}, not {shown(want)}'))
    if misfits:
        raise WeightsError(f'{what}: {summary(misfits)}\n{misfit_table(misfits)}')
    return {key: state[key] for key in target}


def _as_counter(value: Tensor) -> Tensor:
    """BN's counter as an integer; a state dict that was cast to half or float as a whole has it as a float.

    Beyond 65,504, half has infinity in its place. Only BN without momentum reads the counter.
    """
    if not value.is_floating_point():
        return value
    return value.double().nan_to_num(posinf=torch.finfo(value.dtype).max).long()


def shown(tensor: Tensor) -> str:
    """A tensor's shape and type, such as `64x3x3x3 float32`."""
    kind = str(tensor.dtype).removeprefix('torch.')
    return f'{"x".join(map(str, tensor.shape)) or "one"} {kind}'


def summary(misfits: list[Misfit]) -> str:
    """Counts the keys by problem, such as '2 missing, 1 mis-shaped'."""
    counts = {problem: 0 for problem in ('missing', 'unexpected', 'mis-shaped')}
    for misfit in misfits:
        counts[misfit.problem] += 1
    return ', '.join(f'{count} {problem}' for problem, count in counts.items() if count)


def misfit_table(misfits: list[Misfit]) -> str:
    """Draws the misfits as a table of at most MAX_ROWS rows."""
    table = Table('problem', 'key', 'shape and type')
    for misfit in misfits[:MAX_ROWS]:
        table.add_row(misfit.problem, misfit.key[:100], misfit.detail[:60])
    if len(misfits) > MAX_ROWS:
        table.add_row('...', f'and {len(misfits) - MAX_ROWS} more', '')
    console = Console(width=140, color_system=None, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def backbone_part(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Separates the weights of the backbone from those of a classifier or a detector around it.

    Args:
        state: Weights by our own keys.

    Returns:
        The backbone's weights, without the prefix `backbone.`; the names of what is left out (layers of the
        classifier, or first words of a detector's keys); the keys that belong to neither.
    """
    backbone = {k.removeprefix('backbone.'): v for k, v in state.items() if k.startswith('backbone.')}
    rest = [key for key in state if not key.startswith('backbone.')]
    is_detector = bool({key.split('.')[0] for key in rest} & DETECTOR_HEADS)
    left_out, unknown = set(), []
    for key in rest:
        part = key.split('.')[0] if is_detector else key.rpartition('.')[0]
        if part in (DETECTOR_HEADS | {'neck', 'data_preprocessor'} if is_detector else CLASSIFIER_LAYERS):
            left_out.add(part)
        else:
            unknown.append(key)
    return backbone, sorted(left_out), unknown
