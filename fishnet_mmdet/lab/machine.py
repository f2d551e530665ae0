"""Which machine a study ran on: processor, GPU, threads and versions, without a host name."""

import platform
from pathlib import Path

import torch

from fishnet_mmdet.base.cores import allowed_cores


def describe(device: str) -> dict[str, str | int | bool]:
    """The machine as data.

    Args:
        device: 'cpu' or 'cuda'; for 'cuda' the GPU is described too.
    """
    facts = {
        'cpu': _cpu_model(),
        'cores': max(1, int(allowed_cores())),
        'threads': torch.get_num_threads(),
        'torch': torch.__version__,
        'python': platform.python_version(),
        'device': device,
    }
    if device == 'cuda':
        facts |= {
            'gpu': torch.cuda.get_device_name(),
            'cuda': torch.version.cuda,
            'tf32': torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32,
        }
    return facts


def sentence(facts: dict[str, str | int | bool]) -> str:
    """The machine as one line for the caption of a table.

    Args:
        facts: From `describe`.
    """
    text = f'{facts["cpu"]}, cores: {facts["cores"]}, threads: {facts["threads"]}, torch {facts["torch"]}'
    if facts['device'] == 'cuda':
        text = f'{facts["gpu"]}, CUDA {facts["cuda"]}, TF32 {"on" if facts["tf32"] else "off"}; {text}'
    return text


def _cpu_model() -> str:
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.is_file() else []
    named = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return ' '.join((named[0] if named else platform.processor() or platform.machine()).split())
