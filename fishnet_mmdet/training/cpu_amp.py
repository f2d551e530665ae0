"""Mixed precision on a CPU: backbone and neck in bfloat16, all else in float32."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn

from fishnet_mmdet.network.ops.memory_format import models_with_backbone
from fishnet_mmdet.training.runner_parts import bare_model

PARTS = ('backbone', 'neck')
"""What is computed in bfloat16. Heads, losses and the operations of mmcv stay in float32."""

NO_BACKBONE = (
    'Mixed precision has no effect, everything is computed in float32: {model} has no submodule named `backbone`, at '
    'any depth; on a CPU, a `backbone` and the `neck` beside it are computed in bfloat16'
)
SLOW = 'This processor has no instructions for bfloat16: in mixed precision, training may be slower than without'


@OPTIM_WRAPPERS.register_module()
class CpuAmpOptimWrapper(OptimWrapper):
    """Trains backbone and neck in bfloat16 on a CPU; MMEngine's `AmpOptimWrapper` is for accelerators.

    Weights, their gradients and the optimizer stay in float32. So checkpoints are those of a float32 run, and no loss
    scale is needed. `--amp` chooses this class where there is no accelerator. Arguments: as `OptimWrapper`.
    """

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """As that of `OptimWrapper`, which MMEngine calls before the first iteration; warns if nothing is gained."""
        super().initialize_count_status(model, init_counts, max_counts)
        if not models_with_backbone(model):
            name = type(bare_model(model)).__name__
            print_log(NO_BACKBONE.format(model=name), logger='current', level=logging.WARNING)
        elif has_fast_bfloat16() is False and next(model.parameters()).device.type == 'cpu':
            print_log(SLOW, logger='current', level=logging.WARNING)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Computes the parts in bfloat16 while it is open."""
        with super().optim_context(model), parts_in_bfloat16(model):
            yield


@contextmanager
def parts_in_bfloat16(model: nn.Module) -> Iterator[None]:
    """Runs backbone and neck of a model, or of every model that it wraps, under bfloat16 autocast; they return float32.

    Backward keeps maps in bfloat16, and no copies of weights: those are converted again.

    Args:
        model: A detector, classifier or segmentor, wrapped or not.
    """
    with ExitStack() as stack:
        for inner in models_with_backbone(model):
            for part in filter(None, (getattr(inner, name, None) for name in PARTS)):
                for handle in _in_bfloat16(part):
                    stack.callback(handle.remove)
        yield


def _in_bfloat16(part: nn.Module) -> tuple[torch.utils.hooks.RemovableHandle, ...]:
    contexts = []
    # A config with this wrapper may be trained on an accelerator, too.
    device = next((weight.device.type for weight in part.parameters()), 'cpu')

    def enter(*_: Any) -> None:
        contexts.append(ExitStack())
        contexts[-1].enter_context(torch.autocast(device, torch.bfloat16))
        contexts[-1].enter_context(torch.autograd.graph.saved_tensors_hooks(_without_copy, _with_copy))

    def leave(_: nn.Module, __: Any, outputs: Any) -> Any:
        if contexts:  # else a hook before `enter` failed
            contexts.pop().close()
        return _to_float32(outputs)

    # Also after an error, so that no later part runs in bfloat16.
    return part.register_forward_pre_hook(enter), part.register_forward_hook(leave, always_call=True)


class WeightCopy(NamedTuple):
    """A weight in another number format, kept as the weight itself.

    Attributes:
        weight: The parameter.
        dtype: The number format of the copy.
        version: Count of changes of the parameter when the copy was made.
    """

    weight: Tensor
    dtype: torch.dtype
    version: int


def _without_copy(kept: Tensor) -> Tensor | WeightCopy:
    """Keeps the parameter that autocast copied `kept` from, if it did; a copy for backward takes half its bytes."""
    step = kept.grad_fn
    if step is None or not step.name().startswith('ToCopyBackward'):
        return kept
    weight = getattr(step.next_functions[0][0], 'variable', None)  # of the node that accumulates its gradient
    return kept if weight is None else WeightCopy(weight, kept.dtype, weight._version)


def _with_copy(kept: Tensor | WeightCopy) -> Tensor:
    """The tensor that backward needs.

    Raises:
        RuntimeError: A weight changed between forward and backward, as in torch without autocast.
    """
    if isinstance(kept, Tensor):
        return kept
    if kept.weight._version != kept.version:
        raise RuntimeError(
            f'a weight of shape {tuple(kept.weight.shape)} was changed in place between forward and backward: '
            'call backward before the step of the optimizer'
        )
    return kept.weight.detach().to(kept.dtype)


def _to_float32(outputs: Any) -> Any:
    if isinstance(outputs, Tensor):
        return outputs.float() if outputs.dtype == torch.bfloat16 else outputs
    if isinstance(outputs, list | tuple):
        return type(outputs)(map(_to_float32, outputs))
    return outputs


def has_fast_bfloat16(processor: Path = Path('/proc/cpuinfo')) -> bool | None:
    """Whether the processor has instructions for bfloat16 (AMX, AVX512-BF16 or Arm's BF16); None if it does not say."""
    try:
        flags = processor.read_text().split()
    except OSError:
        return None
    return not {'amx_bf16', 'avx512_bf16', 'bf16'}.isdisjoint(flags)
