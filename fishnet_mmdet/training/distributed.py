"""Several processes on machines without a GPU, through MMEngine's public points."""

import gc
import os
from datetime import timedelta

import torch
import torch.distributed
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS


@MODEL_WRAPPERS.register_module()
class CPUDistributedDataParallel(MMDistributedDataParallel):
    """MMEngine's wrapper without `device_ids`, which torch does not take for modules on the CPU."""

    def __init__(self, module: torch.nn.Module, device_ids: list[int] | None = None, **kwargs) -> None:
        super().__init__(module=module, **kwargs)


def is_main_process() -> bool:
    """Whether this is rank 0, asked of the launcher's variables: it works before any process group exists."""
    return int(os.environ.get('RANK', os.environ.get('SLURM_PROCID', 0))) == 0


def prepare_cpu_processes(cfg: Config) -> None:
    """Lets `torchrun ... --launcher pytorch` run without a GPU.

    MMEngine's launcher would call CUDA; it leaves a process group alone that is there already, so one is made here.
    Changes `cfg` in place; does nothing for other launchers or where CUDA is available.
    """
    if cfg.get('launcher', 'none') != 'pytorch' or torch.cuda.is_available():
        return
    env_cfg = cfg.setdefault('env_cfg', {})
    if not torch.distributed.is_initialized():
        timeout = (env_cfg.get('dist_cfg') or {}).get('timeout')
        torch.distributed.init_process_group('gloo', timeout=timeout and timedelta(seconds=timeout))
    env_cfg['dist_cfg'] = dict(backend='gloo')
    wrapper = dict(
        type='CPUDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.setdefault('model_wrapper_cfg', wrapper)


def leave_process_group() -> None:
    """Takes the process group down and waits for its threads, if there is one. The runner must be out of scope by now.

    Whoever still holds the group, as DDP does, keeps gloo's threads running; one that lets go of its last tensor while the
    interpreter is exiting aborts the process, after a run that went well.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        gc.collect()  # a runner and its hooks hold each other
