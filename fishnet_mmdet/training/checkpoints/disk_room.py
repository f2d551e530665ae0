"""Whether the disk has room for the checkpoints of a run."""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from mmengine.runner import Runner
from torch import Tensor
from torch.optim import Optimizer

from fishnet_mmdet.training.runner_parts import bare_model, optim_wrappers


@dataclass(frozen=True)
class Plan:
    """The checkpoints that a run is going to write.

    Attributes:
        folder: Where they go; it exists.
        interval: Epochs or iterations between two checkpoints; 0 or less for one at the end only.
        by_epoch: Whether `interval` counts epochs.
        keep: How many checkpoints stay; -1 for all.
        best: How many metrics have a best checkpoint.
        own: Names of this run's checkpoints that are there already.
    """

    folder: Path
    interval: int
    by_epoch: bool
    keep: int
    best: int
    own: list[str]


def check_room(runner: Runner, plan: Plan) -> str | None:
    """Compares the free room on the disk with what a plan needs.

    Args:
        runner: The runner, ready to train.
        plan: What is going to be written.

    Returns:
        What is wrong and how to fix it; None where the room is enough. A disk that will be full only because every
        checkpoint is kept is logged as a warning.
    """
    each = checkpoint_bytes(runner)
    step, last = (runner.epoch, runner.max_epochs) if plan.by_epoch else (runner.iter, runner.max_iters)
    count = math.ceil(max(last - step, 0) / plan.interval) if plan.interval > 0 else 1
    if plan.keep > 0:
        # The old ones stay until the new one is written.
        count = min(count, plan.keep + 1)
    own = [plan.folder / name for name in plan.own]
    present = sum(file.stat().st_size for file in own if file.is_file())
    # One more for an interruption.
    needed = each * (count + 1 + plan.best) - present
    free = shutil.disk_usage(plan.folder).free
    if needed <= free:
        return None
    best = f', {plan.best} of the best' if plan.best else ''
    message = (
        f'{plan.folder} has {_gib(free)} free, but {count} checkpoints of about {_gib(each)}{best} and one for an '
        f'interruption need {_gib(needed)}'
    )
    if plan.keep < 0 and free > 3 * each:
        runner.logger.warning(f'{message}: the disk will be full before the end, because max_keep_ckpts is -1')
        return None
    return f'{message}. Make room, choose another folder with --work-dir, or keep fewer with max_keep_ckpts'


def checkpoint_bytes(runner: Runner) -> int:
    """Estimates the size of a checkpoint in bytes: the model, its averages, and what the optimizer will store."""
    model = bare_model(runner.model)
    weights = sum(tensor.nbytes for tensor in model.state_dict().values() if isinstance(tensor, Tensor))
    averages = sum(hasattr(hook, 'ema_model') for hook in runner.hooks)
    return weights * (1 + averages) + sum(_optimizer_bytes(w.optimizer) for w in optim_wrappers(runner)) + 2**20


def _optimizer_bytes(optimizer: Optimizer) -> int:
    """SGD with momentum stores one tensor for each trained parameter; Adam and nearly all others store two."""
    total = 0
    for group in optimizer.param_groups:
        tensors = int(group['momentum'] != 0) if 'momentum' in group and 'betas' not in group else 2
        total += tensors * sum(p.nbytes for p in group['params'] if p.requires_grad)
    return total


def _gib(count: int) -> str:
    return f'{count / 2**30:.2f} GiB'
