"""Mixed precision on a CPU: backbone and neck in bfloat16, all else in float32."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn

from fishnet_mmdet.network.ops.memory_format import models_with_backbone

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
            name = type(model.module if is_model_wrapper(model) else model).__name__
            print_log(NO_BACKBONE.format(model=name), logger='current', level=logging.WARNING)
        elif has_fast_bfloat16() is False:
            print_log(SLOW, logger='current', level=logging.WARNING)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Computes the parts in bfloat16 while it is open."""
        with super().optim_context(model), parts_in_bfloat16(model):
            yield


@contextmanager
def parts_in_bfloat16(model: nn.Module) -> Iterator[None]:
    """Runs backbone and neck of a model, or of every model that it wraps, under bfloat16 autocast; they return float32.

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

    def enter(*_: Any) -> None:
        contexts.append(torch.autocast('cpu', torch.bfloat16))
        contexts[-1].__enter__()

    def leave(_: nn.Module, __: Any, outputs: Any) -> Any:
        if contexts:  # else a hook before `enter` failed
            contexts.pop().__exit__(None, None, None)
        return _to_float32(outputs)

    # Also after an error, so that no later part runs in bfloat16.
    return part.register_forward_pre_hook(enter), part.register_forward_hook(leave, always_call=True)


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
