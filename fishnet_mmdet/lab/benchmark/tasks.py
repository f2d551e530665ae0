"""The kinds of work that are timed, as data, and the error for what cannot be timed."""

from dataclasses import dataclass

from fishnet_mmdet.base.errors import UserError


class BenchmarkError(UserError, ValueError):
    """A request that cannot be timed; the message names it, its value and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One kind of work.

    Attributes:
        title: Name in tables and plots.
        training: Whether a step is a forward and a backward pass; otherwise it is a forward pass.
        fixed: Whether BN is fixed in training: statistics and affine parameters.
        batch: Default number of images in a batch.
        side: Default side of the square images in pixels.
    """

    title: str
    training: bool
    fixed: bool = False
    batch: int
    side: int

    @property
    def passes(self) -> int:
        """How often each convolution is computed: the backward pass takes two (for the input and for the weight)."""
        return 3 if self.training else 1


TASKS = {
    'inference': Task(title='inference', training=False, batch=1, side=448),
    'fixed': Task(title='training step, BN fixed', training=True, fixed=True, batch=2, side=320),
    'live': Task(title='training step, live BN', training=True, batch=2, side=320),
}
"""By the name on the command line."""

TRAINING = tuple(name for name, task in TASKS.items() if task.training)
