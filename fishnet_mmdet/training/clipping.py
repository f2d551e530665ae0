"""Gradient clipping in the first epochs only (paper 4.4)."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class EarlyClipping(Hook):
    """Clips gradients up to the end of epoch `epochs` and lets them be from then on.

    What is clipped, and to what norm, stays where MMEngine has it: `optim_wrapper.clip_grad`. The hook goes by
    the epoch that runs, so a resume in any epoch clips as the uninterrupted run would.

    Args:
        epochs: How many epochs clip; the paper's detectors do in 2.

    Raises:
        ValueError: Training starts and `optim_wrapper.clip_grad` says nothing, or `epochs` is negative.
    """

    def __init__(self, epochs: int = 2) -> None:
        if type(epochs) is not int or epochs < 0:
            raise ValueError(f'EarlyClipping: epochs = {epochs!r} must be an integer of at least 0')
        self.epochs = epochs
        self._clip_grad: dict | None = None

    def before_train(self, runner: Runner) -> None:
        """Remembers what the config clips to."""
        self._clip_grad = self._clip_grad or runner.optim_wrapper.clip_grad_kwargs
        if not self._clip_grad:
            raise ValueError(
                'EarlyClipping has nothing to clip to: set optim_wrapper.clip_grad=dict(max_norm=5.0), or '
                'take the hook out of custom_hooks'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Switches clipping on or off for the epoch that starts."""
        wrapper, early = runner.optim_wrapper, runner.epoch < self.epochs
        wrapper.clip_grad_kwargs = self._clip_grad if early else None
        if not early:  # the norm is measured by clipping; without it the log would repeat the last one for ever
            runner.message_hub.log_scalars.pop(f'train/{wrapper.grad_name}', None)
