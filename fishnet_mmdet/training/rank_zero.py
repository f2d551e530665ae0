"""Work that one process does before the training, while the others wait for its result."""

import sys
import time
from collections.abc import Callable
from datetime import timedelta

import torch
import torch.distributed
from mmengine.config import Config
from mmengine.dist import get_rank, init_dist, is_distributed
from mmengine.utils.dl_utils import set_multi_processing

from fishnet_mmdet.training.distributed import prepare_cpu_processes

PATIENCE = timedelta(days=1)
"""How long the other ranks wait: the first check of a million images on a slow disk takes hours."""


def on_rank_zero(cfg: Config, work: Callable[[], object]) -> None:
    """Calls a function on rank 0 only. The other ranks wait for it, and exit with status 1 if it raised.

    The process group is created here, before the runner, which then uses it. The waiting has its own group,
    because that of the training would time out after minutes.

    Args:
        cfg: A config with its launcher; prepared for several processes on the CPU where there is no GPU.
        work: The function.

    Raises:
        Exception: On rank 0, any exception of `work`.
    """
    if cfg.get('launcher', 'none') == 'none':
        work()
        return
    _join(cfg)
    waiting = torch.distributed.new_group(backend='gloo', timeout=PATIENCE)
    passed = torch.zeros(1)
    try:
        if get_rank() == 0:
            work()
            passed += 1
    finally:
        torch.distributed.broadcast(passed, 0, waiting)
    if not passed:
        # A launcher ends all processes when one ends: rank 0 must have printed its message first.
        time.sleep(10)
        sys.exit(1)
    torch.distributed.destroy_process_group(waiting)


def _join(cfg: Config) -> None:
    prepare_cpu_processes(cfg)
    if not is_distributed():
        env = cfg.get('env_cfg', {})
        # Set before `init_dist`, which would choose 'spawn'.
        set_multi_processing(**env.get('mp_cfg', {}), distributed=True)
        init_dist(cfg.launcher, **env.get('dist_cfg', {}))
