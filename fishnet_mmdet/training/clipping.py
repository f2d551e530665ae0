"""Gradient clipping in the first epochs only (paper, section 4.4)."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from fishnet_mmdet.base.errors import ConfigError


@HOOKS.register_module()
class EarlyClipping(Hook):
    """Clips gradients in the first epochs, and not from then on.

    What to clip to stays in MMEngine's setting `optim_wrapper.clip_grad`. The hook goes by the present epoch, so a
    resume in any epoch clips as an uninterrupted run would.

    Args:
        epochs: Number of epochs with clipping; 2 in the paper's detectors.

    Raises:
        ConfigError: `epochs` is negative, or training starts without `optim_wrapper.clip_grad`.
    """

    def __init__(self, epochs: int = 2) -> None:
        if type(epochs) is not int or epochs < 0:
            raise ConfigError(f'EarlyClipping: epochs = {epochs!r} must be an integer of at least 0')
        self.epochs = epochs
        self._clip_grad: dict | None = None

    def before_train(self, runner: Runner) -> None:
        """Notes what the config clips to."""
        self._clip_grad = self._clip_grad or runner.optim_wrapper.clip_grad_kwargs
        if not self._clip_grad:
            raise ConfigError(
                'EarlyClipping needs a norm to clip to: set optim_wrapper.clip_grad=dict(max_norm=5.0), or remove the '
                'hook from custom_hooks'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Switches clipping on or off for the epoch that begins."""
        wrapper, early = runner.optim_wrapper, runner.epoch < self.epochs
        wrapper.clip_grad_kwargs = self._clip_grad if early else None
        if not early:
            # Clipping measures the norm. Without it, the log would repeat the last value for the rest of the run.
            runner.message_hub.log_scalars.pop(f'train/{wrapper.grad_name}', None)
