"""One process looks, and all go on or stop by what it saw."""

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
"""How long the others wait: a first look at a million images on a slow disk takes hours."""


def on_rank_zero(cfg: Config, look: Callable[[], object]) -> None:
    """Calls `look` in rank 0 only; the others wait as long as it takes, and exit with status 1 if it raised.

    The process group is made here, before the runner, which then leaves it alone. The wait has a group of its own: that of
    the training would give up after minutes.

    Args:
        cfg: A config with its launcher; prepared for several processes on the CPU where there is no GPU.
        look: What to do.

    Raises:
        Exception: Whatever `look` raises, in rank 0.
    """
    if cfg.get('launcher', 'none') == 'none':
        look()
        return
    _join(cfg)
    waiting = torch.distributed.new_group(backend='gloo', timeout=PATIENCE)
    passed = torch.zeros(1)
    try:
        if get_rank() == 0:
            look()
            passed += 1
    finally:
        torch.distributed.broadcast(passed, 0, waiting)
    if not passed:
        time.sleep(10)  # a launcher ends all when one ends: rank 0 says why first
        sys.exit(1)
    torch.distributed.destroy_process_group(waiting)


def _join(cfg: Config) -> None:
    prepare_cpu_processes(cfg)
    if not is_distributed():
        env = cfg.get('env_cfg', {})
        set_multi_processing(**env.get('mp_cfg', {}), distributed=True)  # or init_dist would choose 'spawn'
        init_dist(cfg.launcher, **env.get('dist_cfg', {}))
