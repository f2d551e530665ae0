"""Recomputation in backward, as a decorator: what it covers keeps only its inputs.

It uses torch's own non-reentrant checkpoint, which works under DDP, and which in backward runs a function only as far
as backward needs.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial, wraps
from inspect import signature

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.network.ops.compiling import is_compiling
from fishnet_mmdet.network.ops.lean import is_recorded

TAKES_CONTEXTS = 'context_fn' in signature(checkpoint).parameters
"""Since torch 2.1."""


class Recomputable(nn.Module):
    """A module whose `forward`, under `recomputable`, may run again in backward.

    Attributes:
        with_cp: Whether it does; in training only.
    """

    with_cp = False


def recomputable(forward: Callable) -> Callable:
    """Lets backward recompute a `forward` of tensors where `with_cp` of its module is set.

    The results are the same bit for bit: the second run is deterministic, and BN updates its running statistics once.
    """

    @wraps(forward)
    def either(self: Recomputable, *inputs: Tensor, **named: Tensor) -> Tensor | tuple[Tensor, ...]:
        is_on = self.with_cp and self.training and torch.is_grad_enabled()
        if not is_on or any(map(is_recorded, (*inputs, *named.values()))):
            return forward(self, *inputs, **named)
        named |= dict(use_reentrant=False, preserve_rng_state=False)
        # The graph of a compiler updates statistics once in any case.
        if _live_norms(self) and not is_compiling():
            if not TAKES_CONTEXTS:
                raise ConfigError(f'with_cp under live BN needs torch 2.1 or newer; this is torch {torch.__version__}')
            named |= dict(context_fn=partial(_twice, self))
        return checkpoint(partial(forward, self), *inputs, **named)

    # torch.compile counts how often it compiles a code object: each class needs one of its own.
    either.__code__ = either.__code__.replace(co_name=forward.__qualname__)
    return either


def _live_norms(module: nn.Module) -> list[_BatchNorm]:
    return [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training]


def _twice(module: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """Contexts of the first pass and of the pass in backward."""
    return nullcontext(), StatisticsKept(module)


class StatisticsKept:
    """Within it, live BN normalises by its batch and leaves its running statistics unchanged.

    It is a class because torch enters the same object again where backward runs a second time (`retain_graph`).
    """

    def __init__(self, module: nn.Module) -> None:
        norms = [norm for norm in _live_norms(module) if norm.track_running_stats]
        self.kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]

    def __enter__(self) -> None:
        for norm, _, batches in self.kept:
            # Statistics stay on: a checkpoint expects as many saved tensors as in the first pass.
            norm.momentum = 0.0
            norm.num_batches_tracked = batches.clone()

    def __exit__(self, *_: object) -> None:
        for norm, momentum, batches in self.kept:
            norm.momentum, norm.num_batches_tracked = momentum, batches
