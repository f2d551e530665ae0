"""Gradient clipping in the first epochs only (paper, section 4.4)."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.training.runner_parts import optim_wrappers


@HOOKS.register_module()
class EarlyClipping(Hook):
    """Clips gradients in the first epochs, and not from then on.

    What to clip to stays in MMEngine's setting `optim_wrapper.clip_grad`. The hook goes by the present epoch, so a
    resume in any epoch clips as an uninterrupted run would. In a loop by iterations, an epoch is as many iterations as
    the training loader has batches.

    Args:
        epochs: Number of epochs with clipping; 2 in the paper's detectors.

    Raises:
        ConfigError: `epochs` is negative. Training starts without `optim_wrapper.clip_grad`, or in a loop by iterations
            whose loader does not know its length.
    """

    def __init__(self, epochs: int = 2) -> None:
        if type(epochs) is not int or epochs < 0:
            raise ConfigError(f'EarlyClipping: epochs = {epochs!r} must be an integer of at least 0')
        self.epochs = epochs
        # What each optimizer wrapper clips to.
        self._clip_grad: list[dict | None] = []
        # In a loop by iterations: how many of them clip.
        self._iterations: int | None = None

    def before_train(self, runner: Runner) -> None:
        """Notes what the config clips to, and how long an epoch is where the loop does not count epochs."""
        self._clip_grad = self._clip_grad or [wrapper.clip_grad_kwargs for wrapper in optim_wrappers(runner)]
        if not any(self._clip_grad):
            raise ConfigError(
                'EarlyClipping needs a norm to clip to: set optim_wrapper.clip_grad=dict(max_norm=5.0), or remove the '
                'hook from custom_hooks'
            )
        self._iterations = None
        if isinstance(loop := runner.train_loop, IterBasedTrainLoop):
            try:
                self._iterations = self.epochs * len(loop.dataloader)
            except TypeError as error:
                raise ConfigError(
                    'EarlyClipping counts epochs, and a train_dataloader without a length has none: remove the hook '
                    'from custom_hooks, and optim_wrapper.clip_grad too unless the whole training should be clipped'
                ) from error

    def before_train_epoch(self, runner: Runner) -> None:
        """Switches clipping on or off for the epoch that begins."""
        if self._iterations is None:
            self._switch(runner, runner.epoch < self.epochs)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """In a loop by iterations, switches clipping on or off for the iteration that begins."""
        if self._iterations is not None:
            self._switch(runner, runner.iter < self._iterations)

    def _switch(self, runner: Runner, on: bool) -> None:
        for wrapper, clip_grad in zip(optim_wrappers(runner), self._clip_grad, strict=True):
            wrapper.clip_grad_kwargs = clip_grad if on else None
            if clip_grad and not on:
                # Clipping measures the norm. Without it, the log would repeat the last value for the rest of the run.
                runner.message_hub.log_scalars.pop(f'train/{wrapper.grad_name}', None)
