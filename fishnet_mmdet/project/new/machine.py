"""The hardware that a config is made for."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from fishnet_mmdet.base.cores import allowed_cores

GIB = 2**30


@dataclass(frozen=True)
class Machine:
    """What trains.

    Attributes:
        gpu: Name of the GPU; None for a CPU.
        memory: Bytes of the GPU, or of the computer.
        cores: CPU cores that this process may use.
    """

    gpu: str | None
    memory: int
    cores: int

    def __str__(self) -> str:
        return f'{self.gpu or f"CPU, {self.cores} cores"}, {self.memory / GIB:.0f} GiB'


def this_machine() -> Machine:
    """The first GPU, or else the CPU, with the limit of a container counted."""
    cores = max(1, int(allowed_cores()))
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        return Machine(card.name, card.total_memory, cores)
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    try:
        memory = min(memory, int(Path('/sys/fs/cgroup/memory.max').read_text()))
    except (OSError, ValueError):
        # No container, or one without a limit.
        pass
    return Machine(None, memory, cores)
