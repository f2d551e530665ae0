"""What a checkpoint stores of a training loop, and what a loop must offer for it."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import all_gather, get_world_size
from mmengine.runner import Runner
from torch import Tensor


class ExactLoop:
    """Base class of training loops whose state `DurableCheckpoints` stores and restores.

    `ResumableEpochLoop` and `ResumableIterLoop` are the two of this package.
    """

    def progress(self, epoch: int, iteration: int, validated: bool) -> dict[str, Any]:
        """Returns what a checkpoint needs, beyond MMEngine's content, to continue exactly. All ranks call it.

        Args:
            epoch: Epoch of the checkpoint, as in its `meta`.
            iteration: Iteration of the checkpoint, as in its `meta`.
            validated: Whether the validation that is due at this iteration is done.

        Returns:
            Plain containers and tensors.
        """
        raise NotImplementedError

    def restore_progress(self, progress: Mapping[str, Any] | None) -> str | None:
        """Continues from what `progress` returned.

        Args:
            progress: The stored value; None for a checkpoint without one.

        Returns:
            Why the run will differ from an uninterrupted one; None where it will not.
        """
        raise NotImplementedError

    def make_up_validation(self) -> None:
        """Validates, if the checkpoint was written where a validation was due and the run ended before it was done."""
        raise NotImplementedError


def buffers_of_ranks(runner: Runner) -> list[Tensor] | None:
    """Returns each rank's floating-point buffers, such as BN statistics; None where all ranks have the same.

    Between two synchronisations every rank has its own statistics. The weights of a checkpoint hold those of rank 0.

    Returns:
        One vector per rank, with all buffers of the model and of its running averages (EMAHook).
    """
    buffers = _floating_buffers(runner)
    if get_world_size() == 1 or not buffers:
        return None
    mine = torch.cat([buffer.detach().flatten() for buffer in buffers])
    vectors = [vector.cpu() for vector in all_gather(mine)]
    return None if all(torch.equal(vector, vectors[0]) for vector in vectors) else vectors


def fill_buffers(runner: Runner, vector: Tensor) -> str | None:
    """Copies one of the vectors that `buffers_of_ranks` returned into the buffers.

    Returns:
        Why it does not fit; None where it does.
    """
    buffers = _floating_buffers(runner)
    if vector.numel() != (count := sum(buffer.numel() for buffer in buffers)):
        return (
            f'the checkpoint holds {vector.numel():,} BN statistics of this process, and the model and its running '
            f'averages (EMAHook) now have {count:,}; those of rank 0 are used'
        )
    for buffer, values in zip(buffers, vector.split([b.numel() for b in buffers]), strict=True):
        buffer.copy_(values.view_as(buffer))
    return None


def _floating_buffers(runner: Runner) -> list[Tensor]:
    models = [runner.model, *(hook.ema_model for hook in runner.hooks if hasattr(hook, 'ema_model'))]
    return [buffer for model in models for buffer in model.buffers() if buffer.is_floating_point()]
