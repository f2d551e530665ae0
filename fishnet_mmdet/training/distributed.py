"""Training in several processes on machines without a GPU, by MMEngine's public API."""

import gc
import os
import sys
import time
from datetime import timedelta

import torch
import torch.distributed
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.base.startup import RANKS


@MODEL_WRAPPERS.register_module()
class CPUDistributedDataParallel(MMDistributedDataParallel):
    """MMEngine's wrapper without `device_ids`, which torch does not accept for modules on the CPU."""

    def __init__(self, module: torch.nn.Module, device_ids: list[int] | None = None, **kwargs) -> None:
        super().__init__(module=module, **kwargs)


def let_threads_settle(seconds: float = 0.02) -> None:
    """Waits before a fork of a process with a process group, so that threads of gloo or NCCL finish what they began.

    A thread that releases a tensor first registers itself with Python. If the process forks in this moment, as it does
    for each loader worker, the worker of a Python before 3.12 never starts, and the run hangs:
    https://github.com/python/cpython/issues/112275. It was seen after a collective at the end of an epoch.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        time.sleep(seconds)


if sys.version_info < (3, 12):
    os.register_at_fork(before=let_threads_settle)


def is_rank_zero() -> bool:
    """Returns whether this is rank 0, by the launcher's variables; it works before any process group exists."""
    return int(next((os.environ[name] for name in RANKS if name in os.environ), 0)) == 0


def prepare_cpu_processes(cfg: Config) -> None:
    """Makes `torchrun ... --launcher pytorch` work without a GPU.

    MMEngine's launcher would call CUDA. It leaves an existing process group as it is, so one is created here. Other
    launchers, and machines with an accelerator, need nothing.

    Args:
        cfg: The config of the run; changed in place.

    Raises:
        ConfigError: There are more processes on this machine than GPUs.
    """
    if cfg.get('launcher', 'none') != 'pytorch':
        return
    each_here, gpus = int(os.environ.get('LOCAL_WORLD_SIZE', 1)), torch.cuda.device_count()
    if torch.cuda.is_available() and each_here > gpus:
        raise ConfigError(
            f'{each_here} processes on this machine, but torch finds {gpus} GPU{"s" * (gpus > 1)}, and each process '
            f'needs one: start {gpus} (--nproc_per_node), or train on the CPU with CUDA_VISIBLE_DEVICES='
        )
    if get_device() not in ('cpu', 'mps'):
        return
    env_cfg = cfg.setdefault('env_cfg', {})
    if not torch.distributed.is_initialized():
        timeout = (env_cfg.get('dist_cfg') or {}).get('timeout')
        torch.distributed.init_process_group('gloo', timeout=timeout and timedelta(seconds=timeout))
    env_cfg['dist_cfg'] = dict(backend='gloo')
    # As MMEngine has them where the config has no wrapper.
    usual = dict(broadcast_buffers=False, find_unused_parameters=cfg.get('find_unused_parameters', False))
    wrapper = cfg.get('model_wrapper_cfg') or dict(type=MMDistributedDataParallel, **usual)
    if wrapper.get('type') in ('MMDistributedDataParallel', MMDistributedDataParallel):
        cfg['model_wrapper_cfg'] = {**wrapper, 'type': 'CPUDistributedDataParallel'}


def leave_process_group() -> None:
    """Destroys the process group, if there is one, and waits for its threads. The runner must be out of scope.

    An object that still holds the group, as DDP does, keeps gloo's threads running. If one of these threads releases
    its last tensor while the interpreter exits, the process aborts after a run that went well.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        # A runner and its hooks refer to each other.
        gc.collect()
