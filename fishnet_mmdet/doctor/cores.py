"""The cores that a training may use, those that other processes leave free, and the threads that torch starts."""

import math
import os
from pathlib import Path

from fishnet_mmdet.doctor.diagnosis import Diagnosis

CGROUPS = Path('/sys/fs/cgroup')
"""Where Linux says how much processor time a container may use."""


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


def allowed_cores(cgroups: Path = CGROUPS) -> float:
    """Number of cores that this process may use: the least of its affinity and the quota of its container."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    return min(there, _quota(cgroups))


def free_cores(cgroups: Path = CGROUPS) -> float:
    """Number of these cores that were free over the last minute, as far as the system says."""
    allowed = allowed_cores(cgroups)
    # Windows has no load average.
    if not hasattr(os, 'getloadavg'):
        return allowed
    # The load is that of the whole machine, which may have more cores than this process is allowed.
    return min(allowed, max(0.0, (os.cpu_count() or 1) - os.getloadavg()[0]))


def _quota(cgroups: Path) -> float:
    """Cores' worth of processor time that control groups allow, version 2 or 1; infinite without a limit."""
    try:
        if (file := cgroups / 'cpu.max').is_file():
            quota, period = map(float, file.read_text().replace('max', 'inf').split())
        else:
            quota, period = (float((cgroups / f'cpu/cpu.cfs_{what}_us').read_text()) for what in ('quota', 'period'))
    except (OSError, ValueError):
        return math.inf
    return quota / period if quota > 0 and period > 0 else math.inf
