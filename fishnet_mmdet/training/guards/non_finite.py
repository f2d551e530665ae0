"""Stops a run whose losses, gradients or weights are NaN or infinite."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NoReturn

import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from fishnet_mmdet.base.errors import ConfigError, UserError
from fishnet_mmdet.training.runner_parts import bare_model, optim_wrappers


class NonFiniteError(UserError, FloatingPointError):
    """A loss, gradient or weight is NaN or infinite; the message names the iteration, the rank and its images."""


@HOOKS.register_module()
class NonFiniteGuard(Hook):
    """Stops every rank at the first loss or gradient that is NaN or infinite, while the weights are still finite.

    The gradient is checked just before the optimizer's step. A gradient that is not finite is dropped, so that the step
    changes nothing. After the iteration the ranks share their results, and all raise the same error. A checkpoint whose
    weights are not finite is refused before any of it is written.

    In mixed precision, a step with an infinite gradient is skipped by design and the loss scale is lowered. There, only
    several skipped steps in a row stop the run.

    Args:
        max_skipped: Number of skipped steps in a row that stops a run in mixed precision. The scale starts at 2^16, and
            each skipped step halves it.

    Raises:
        NonFiniteError: The message names the iteration, the learning rate and, for each rank at fault, its losses and
            the images of its batch.
        ConfigError: `max_skipped` is not an integer of at least 1.
    """

    # Before every hook that could write a checkpoint after the same iteration.
    priority = 'VERY_HIGH'

    def __init__(self, max_skipped: int = 25) -> None:
        if type(max_skipped) is not int or max_skipped < 1:
            raise ConfigError(f'NonFiniteGuard: max_skipped = {max_skipped!r} must be an integer of at least 1')
        self.max_skipped = max_skipped
        self._broken_norm: float | None = None
        self._stepped = True
        self._skipped = 0
        self._handles: list[RemovableHandle] = []

    def before_train(self, runner: Runner) -> None:
        """Registers the check before the step of every optimizer."""
        self.after_train(runner)
        for wrapper in optim_wrappers(runner):
            check = partial(self._before_step, scaled=_scales_loss(wrapper))
            self._handles.append(wrapper.optimizer.register_step_pre_hook(check))

    def after_train(self, runner: Runner) -> None:
        """Removes the checks from the optimizers."""
        while self._handles:
            self._handles.pop().remove()

    def _before_step(self, optimizer: Optimizer, args: tuple, kwargs: dict, scaled: bool) -> None:
        parameters = [p for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
        norm = float(total_norm([p.grad for p in parameters])) if parameters else 0.0
        if math.isfinite(norm):
            self._stepped = True
        elif not scaled:
            # With a loss scale, a fused optimizer gets here too; it skips the step by itself.
            self._broken_norm = norm
            for parameter in parameters:
                parameter.grad = None

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Shares the results of all ranks, a single number where all is well, and stops if any is bad."""
        fault, text = self._fault(runner, outputs or {})
        worst = worst_fault(fault)
        if worst is None:
            return
        images = ', '.join(batch_images(data_batch)) or 'unknown'
        reports = gather_reports(f'{text}. Images: {images}' if fault == worst else '')
        listed = '\n'.join(f'  rank {rank}: {report}' for rank, report in enumerate(reports) if report)
        rate = next(iter(runner.optim_wrapper.get_lr().values()))[0]
        place = f'epoch {runner.epoch + 1}, iteration {runner.iter + 1}, at learning rate {rate:g}'
        weights = {name: p.detach() for name, p in bare_model(runner.model).named_parameters()}
        state = _summary(broken) if (broken := not_finite(weights)) else 'All weights are finite'
        message = NON_FINITE[worst].format(place=place, reports=listed, skipped=self._skipped)
        _stop(runner, message + state + INTACT)

    def _fault(self, runner: Runner, outputs: Mapping) -> tuple[str | None, str]:
        """Returns this rank's fault after an iteration, a key of NON_FINITE or None, and its figures as text."""
        # No further cost: MMEngine's log copies every loss from the device too.
        losses = {name: float(torch.as_tensor(value).detach()) for name, value in outputs.items() if 'loss' in name}
        figures = ', '.join(f'{name} = {value:g}' for name, value in losses.items())
        norm, self._broken_norm = self._broken_norm, None
        self._count_skipped(runner)
        if not all(math.isfinite(value) for value in losses.values()):
            return 'loss', figures
        if norm is not None:
            return 'gradient', f'norm of the gradient = {norm:g}, {figures}'
        return ('step' if self._skipped >= self.max_skipped else None), figures

    def _count_skipped(self, runner: Runner) -> None:
        wrappers = optim_wrappers(runner)
        if any(_scales_loss(wrapper) and wrapper.should_update() for wrapper in wrappers):
            self._skipped = 0 if self._stepped else self._skipped + 1
            self._stepped = False

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuses to write weights that are not finite: a step may overflow although its gradient was finite."""
        learnt = {name for name, _ in bare_model(runner.model).named_parameters()}
        state = {
            key: value
            for key, value in checkpoint['state_dict'].items()
            if key in learnt or key.endswith(('running_mean', 'running_var'))
        }
        if broken := not_finite(state):
            place = f'epoch {runner.epoch + 1}, iteration {runner.iter}'
            _stop(runner, f'no checkpoint is written in {place}: {_summary(broken)}{INTACT}')


NON_FINITE = {
    'loss': 'non-finite loss in {place}:\n{reports}\n',
    'gradient': 'non-finite gradient of finite losses in {place}. Ranks share their gradient, so any of these images '
    'may be the cause:\n{reports}\n',
    'step': 'mixed precision skipped the last {skipped} steps, up to {place}: the gradient overflows at every loss '
    'scale, and nothing is learnt. Train without --amp, or in bfloat16 (optim_wrapper.dtype=bfloat16). The last '
    'batch:\n{reports}\n',
}
"""The messages, the worst fault first."""

INTACT = (
    '. The checkpoints written so far are intact. Lower optim_wrapper.optimizer.lr (or use --auto-scale-lr), clip '
    'gradients in more epochs, or look at the images'
)


def not_finite(weights: Mapping[str, Tensor]) -> list[str]:
    """Returns the names of the weights that hold a NaN or an infinity."""
    numbers = {name: value for name, value in weights.items() if value.is_floating_point()}
    if not numbers or math.isfinite(total_norm(list(numbers.values()))):
        return []
    # The norm of finite numbers may overflow too.
    return [name for name, value in numbers.items() if not value.isfinite().all()]


def total_norm(tensors: list[Tensor]) -> Tensor:
    """Returns the 2-norm of all tensors together; it is not finite where one number is not."""
    if hasattr(nn.utils, 'get_total_norm'):
        return nn.utils.get_total_norm(tensors)
    # torch before 2.6.
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(t) for t in tensors]))


def batch_images(batch: Any) -> list[str]:
    """Returns the files of a batch's images, or their ids, from data samples at any depth of the batch."""
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    if isinstance(batch, list | tuple):
        return [name for part in batch for name in batch_images(part)]
    name = getattr(batch, 'img_path', None) or getattr(batch, 'img_id', None)
    return [] if name is None else [str(name)]


def worst_fault(fault: str | None) -> str | None:
    """Returns the worst fault of any rank; all ranks call it."""
    ranking = [*NON_FINITE, None]
    level = torch.tensor(len(NON_FINITE) - ranking.index(fault))
    dist.all_reduce(level, 'max')
    return ranking[len(NON_FINITE) - int(level)]


def gather_reports(report: str) -> list[str]:
    """Returns the reports of all ranks. They travel as bytes of text: nothing is pickled."""
    own = torch.frombuffer(bytearray(report.encode(errors='replace') + b'\0'), dtype=torch.uint8)
    length = torch.tensor(own.numel())
    dist.all_reduce(length, 'max')
    padded = nn.functional.pad(own, (0, int(length) - own.numel()))
    return [bytes(part.tolist()).rstrip(b'\0').decode() for part in dist.all_gather(padded)]


def _scales_loss(wrapper: OptimWrapper) -> bool:
    scaler = getattr(wrapper, 'loss_scaler', None)
    return scaler is not None and scaler.is_enabled()


def _summary(broken: list[str]) -> str:
    return f'{len(broken)} of the weights are not finite, the first of them {broken[0]}'


def _stop(runner: Runner, message: str) -> NoReturn:
    # Only rank 0 has a log file.
    if dist.is_main_process():
        runner.logger.critical(message)
    raise NonFiniteError(message)
