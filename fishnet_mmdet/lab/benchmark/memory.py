"""Bytes that a piece of work keeps, and bytes that it has at once, counted at torch's allocator.

The count finds everything that is alive, whoever holds it: tensors saved by autograd, by a `torch.autograd.Function`
or by a compiled graph, inputs held by the closure of a checkpoint, outputs. A storage counts once, however many tensors
share it. What was allocated before (parameters, buffers, the image) does not count.
"""

import gc
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile


class Memory(NamedTuple):
    """Bytes of torch's allocator, above what was allocated before.

    Attributes:
        kept: Bytes that are still allocated after the work, while its return value is held. After a forward pass in
            training these are the bytes kept for the backward pass.
        peak: Most bytes at once during the work.
    """

    kept: int
    peak: int


def memory_of(work: Callable[[], object], device: str = 'cpu') -> Memory:
    """Runs a piece of work once and counts its bytes.

    On a CPU each allocation counts as requested; CUDA's allocator rounds each up to 512 bytes. Run the work once
    before: otherwise what a first call leaves in caches counts as kept.

    Args:
        work: Takes no arguments; its return value is held while the bytes are counted.
        device: Where it allocates, 'cpu' or 'cuda'.

    Examples:
        >>> import torch
        >>> layer = torch.nn.Conv2d(3, 8, 1)
        >>> image = torch.rand(1, 3, 32, 32)
        >>> memory_of(lambda: layer(image)).kept  # its output: 8 channels of 32 x 32 float32
        32768
    """
    gc.collect()  # otherwise cycles of earlier work would be freed during this work, and the count go below zero
    gc.freeze()  # the collection after the work then looks only at objects of the work, which takes a moment
    try:
        return _on_cuda(work) if device.startswith('cuda') else _on_cpu(work)
    finally:
        gc.unfreeze()


def _on_cuda(work: Callable[[], object]) -> Memory:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    held = work()
    torch.cuda.synchronize()
    gc.collect()
    memory = Memory(torch.cuda.memory_allocated() - before, torch.cuda.max_memory_allocated() - before)
    del held
    return memory


def _on_cpu(work: Callable[[], object]) -> Memory:
    with warnings.catch_warnings():
        # One cycle is all there is. With acc_events torch would also build its tree of events, which takes long.
        warnings.filterwarnings('ignore', '.*Profiler clears events')
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            held = work()
            gc.collect()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == '[memory]']
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()  # negative where memory is released
        peak = max(peak, now)
    del held
    return Memory(now, peak)
