"""The processor cores that this process may use."""

import math
import os
from pathlib import Path

CGROUPS = Path('/sys/fs/cgroup')
"""Where Linux says how much processor time a container may use."""


def allowed_cores(cgroups: Path = CGROUPS) -> float:
    """Number of cores that this process may use: the least of its affinity and the quota of its container."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    return min(there, _quota(cgroups))


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
