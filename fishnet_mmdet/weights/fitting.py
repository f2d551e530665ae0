"""Strict fitting: every key of the source is used or left out by name, every key of the target is filled."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from torch import Tensor

from fishnet_mmdet.weights.key_naming import CLASSIFIER_LAYERS, DETECTOR_HEADS
from fishnet_mmdet.weights.reading import WeightsError

MAX_ROWS = 20
"""A wrong network misfits in hundreds of keys; the first ones tell."""


@dataclass(frozen=True)
class Misfit:
    """One key that does not fit; `key` is the source's where it has one, else the target's."""

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
    """Checks that weights and a network are made for each other.

    Args:
        state: Weights by the target's keys.
        target: The network's `state_dict()`; only shapes and types are looked at, so it may be on the meta device.
        what: Begins the message, such as "FILE does not fit FishNet-150".
        named: The key that messages show for one of the target's: the source's own name of it.
        unexpected: Keys of the source that have no name in the target's terms.

    Returns:
        The weights, in the target's order.

    Raises:
        WeightsError: With a table of all that is missing, unexpected or mis-shaped.
    """
    misfits = [Misfit('missing', named(key), shown(target[key])) for key in target if key not in state]
    misfits += [Misfit('unexpected', key) for key in unexpected]
    misfits += [Misfit('unexpected', named(key), shown(state[key])) for key in state if key not in target]
    for key in target.keys() & state.keys():
        have, want = state[key], target[key]
        if have.shape != want.shape or have.is_floating_point() != want.is_floating_point():
            misfits.append(Misfit('mis-shaped', named(key), f'{shown(have)}, not {shown(want)}'))
    if misfits:
        raise WeightsError(f'{what}: {summary(misfits)}\n{misfit_table(misfits)}')
    return {key: state[key] for key in target}


def shown(tensor: Tensor) -> str:
    """A tensor's shape and type, such as `64x3x3x3 float32`."""
    kind = str(tensor.dtype).removeprefix('torch.')
    return f'{"x".join(map(str, tensor.shape)) or "one"} {kind}'


def summary(misfits: list[Misfit]) -> str:
    """How many keys there are of each problem."""
    counts = {problem: 0 for problem in ('missing', 'unexpected', 'mis-shaped')}
    for misfit in misfits:
        counts[misfit.problem] += 1
    return ', '.join(f'{count} {problem}' for problem, count in counts.items() if count)


def misfit_table(misfits: list[Misfit]) -> str:
    """The misfits as a table of at most MAX_ROWS rows."""
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
    """Divides weights of our layout into the backbone's and the rest.

    Returns:
        The backbone's weights without the prefix `backbone.`; what is left out by name (layers of the classifier, or
        first words of a detector's keys); the keys that nobody knows.
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
