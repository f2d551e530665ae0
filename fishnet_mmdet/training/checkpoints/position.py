"""The position of a checkpoint: when it was written, and after which iteration."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.weights.errors import WeightsError

WRITTEN = 'written'
"""Key in a checkpoint's `meta`: seconds since 1970, larger than in every checkpoint that its run continued from."""

MAX_COUNT = 2**53
"""Beyond this number a float64 cannot tell two iterations apart."""


class CheckpointError(UserError, RuntimeError):
    """No checkpoint that can be read, or one that cannot be written; the message names file, reason and fix."""


class Position(NamedTuple):
    """Orders the checkpoints of a folder: the largest position is the newest checkpoint.

    Attributes:
        written: Seconds since 1970; 0 where the checkpoint does not say.
        iteration: Iterations that were trained.
    """

    written: float
    iteration: int


BEGINNING = Position(0.0, 0)
"""The position of a run that starts from its beginning."""


def position_of(content: Mapping[str, Any], path: Path) -> Position:
    """Returns the position of a checkpoint.

    Args:
        content: The checkpoint.
        path: Its file, for messages.

    Raises:
        WeightsError: No training can resume from it.
    """
    meta, state = content.get('meta'), content.get('state_dict')
    counts = [meta.get(key) for key in ('epoch', 'iter')] if isinstance(meta, Mapping) else [None]
    missing = None
    if not isinstance(state, Mapping) or not all(map(_is_count, counts)):
        missing = 'does not hold the epoch and iteration of a training (meta.epoch, meta.iter)'
    elif 'optimizer' not in content:
        missing = 'holds no optimizer'
    elif not isinstance(content.get('message_hub'), Mapping):
        missing = 'holds no message_hub, as checkpoints of MMDetection 2'
    if missing:
        raise WeightsError(
            f'{path} {missing}: it can be loaded, not resumed. To start from its weights: --cfg-options load_from=FILE'
        )
    return Position(written_at(meta), counts[1])


def written_at(meta: object) -> float:
    """Returns when the checkpoint with this `meta` was written, in seconds since 1970; 0 where it does not say."""
    seconds = meta.get(WRITTEN) if isinstance(meta, Mapping) else None
    return seconds if isinstance(seconds, float) and math.isfinite(seconds) else 0.0


def _is_count(value: object) -> bool:
    return isinstance(value, int) and 0 <= value < MAX_COUNT
