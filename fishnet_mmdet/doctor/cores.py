"""The cores that other processes leave free, and the threads that torch starts."""

import os

from fishnet_mmdet.base.cores import allowed_cores
from fishnet_mmdet.doctor.diagnosis import Diagnosis


def check_cores(name: str) -> Diagnosis:
    """Compares the threads of a training with the cores that are free for it; more of them are a note, no failure."""
    allowed, free = allowed_cores(), free_cores()
    text = f'{allowed:g} for this process, {free:.1f} of them free'
    try:
        import torch
    # The check of torch says what is wrong.
    except Exception:
        return Diagnosis(name, 'note', text)
    threads, processes = torch.get_num_threads(), processes_here()
    text += f'; torch starts {processes} x {threads} threads, beside the loader workers'
    # One thread is the least.
    fitting = max(1, round(free) // processes)
    if threads <= fitting:
        return Diagnosis(name, 'ok', text)
    text += ': they wait for each other'
    return Diagnosis(name, 'note', text, f'export OMP_NUM_THREADS={fitting}, or wait for the other processes to end')


def processes_here() -> int:
    """Number of processes of a training on this machine, as torchrun sets it; 1 without torchrun."""
    try:
        return max(1, int(os.environ['LOCAL_WORLD_SIZE']))
    except (KeyError, ValueError):
        return 1


def free_cores() -> float:
    """Number of the allowed cores that were free over the last minute, as far as the system says."""
    allowed = allowed_cores()
    # Windows has no load average.
    if not hasattr(os, 'getloadavg'):
        return allowed
    # The load is that of the whole machine, which may have more cores than this process is allowed.
    return min(allowed, max(0.0, (os.cpu_count() or 1) - os.getloadavg()[0]))
