"""Recomputation in backward, as a decorator: what it covers keeps its inputs and nothing else.

By torch's own non-reentrant checkpoint, which DDP takes as it is, and which in backward runs a function only up to the
last thing that backward needs.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial, wraps

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


class Recomputable(nn.Module):
    """A module whose `forward`, under `recomputable`, may be repeated in backward instead of kept.

    Attributes:
        with_cp: Whether it is; training only.
    """

    with_cp = False


def recomputable(forward: Callable) -> Callable:
    """Lets a `forward` of tensors be recomputed in backward where its module's `with_cp` says so.

    The results are the same bit for bit: what runs twice is deterministic, and BN updates its running statistics once.
    """

    @wraps(forward)
    def either(self: Recomputable, *inputs: Tensor, **named: Tensor) -> Tensor | tuple[Tensor, ...]:
        if not (self.with_cp and self.training and torch.is_grad_enabled()):
            return forward(self, *inputs, **named)
        named |= dict(use_reentrant=False, preserve_rng_state=False)
        if _live_norms(self):
            named |= dict(context_fn=partial(_twice, self))
        return checkpoint(partial(forward, self), *inputs, **named)

    return either


def _live_norms(module: nn.Module) -> list[_BatchNorm]:
    return [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training]


def _twice(module: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    """Contexts of the first pass and of the one in backward."""
    return nullcontext(), statistics_kept(module)


@contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
    """Within it, live BN normalises by its batch as always but leaves its running statistics as they are."""
    momenta = {norm: norm.momentum for norm in _live_norms(module)}
    for norm in momenta:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in momenta.items():
            norm.momentum = momentum
            norm.num_batches_tracked -= 1
