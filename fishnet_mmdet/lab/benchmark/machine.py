"""The machine: what it is, and the most that its convolutions and matrix products reach, measured in the same run."""

import os
import platform
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from fishnet_mmdet.lab.benchmark.contenders import BenchmarkError
from fishnet_mmdet.lab.benchmark.timing import Budget, Work, take_turns, warm_up

DTYPES = (torch.float32, torch.bfloat16)
LAYOUTS = {'contiguous': torch.contiguous_format, 'channels_last': torch.channels_last}


class Peak(NamedTuple):
    """The rate of one operation.

    Attributes:
        operation: Its name and shape.
        layout: Memory format of image and weights; of a matrix product always contiguous.
        dtype: float32 or bfloat16.
        gflops: Best of all rounds, in 1e9 floating-point operations a second (two for a multiply-add).
    """

    operation: str
    layout: str
    dtype: str
    gflops: float


class Shape(NamedTuple):
    """Of the operations that show the peak: large enough to reach it, small enough to take a moment."""

    batch: int
    channels: int
    side: int
    matrix: int


SHAPES = {
    'cpu': Shape(batch=4, channels=256, side=56, matrix=2048),
    'cuda': Shape(batch=64, channels=256, side=56, matrix=8192),
    'quick': Shape(batch=1, channels=64, side=28, matrix=256),
}


def check_device(device: str) -> None:
    """Refuses a device that is not there.

    Raises:
        BenchmarkError: Not 'cpu' or 'cuda', or no GPU that this torch can use.
    """
    if device not in ('cpu', 'cuda'):
        raise BenchmarkError(f'--device {device}: must be cpu or cuda')
    if device == 'cuda' and not torch.cuda.is_available():
        raise BenchmarkError('--device cuda: torch finds no CUDA GPU here; give --device cpu')


def set_up(device: str, *, tf32: bool, threads: int | None) -> None:
    """Settles what all contenders run under alike."""
    if threads:
        torch.set_num_threads(threads)
    if device == 'cuda':
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = True  # sizes are fixed here


def describe(device: str) -> dict[str, str | int | bool]:
    """The machine in words and numbers, without any name that it has among others."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    facts = {
        'cpu': _cpu_model(),
        'cores': cores or 1,
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
    """The machine as the caption of a table."""
    text = f'{facts["cpu"]}, cores: {facts["cores"]}, threads: {facts["threads"]}, torch {facts["torch"]}'
    if facts['device'] == 'cuda':
        text = f'{facts["gpu"]}, CUDA {facts["cuda"]}, TF32 {"on" if facts["tf32"] else "off"}; {text}'
    return text


def _cpu_model() -> str:
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.is_file() else []
    named = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return ' '.join((named[0] if named else platform.processor() or platform.machine()).split())


def measure_peaks(
    device: str, *, quick: bool = False, on_done: Callable[[float], None] = lambda done: None
) -> list[Peak]:
    """Times a 3x3 and a 1x1 convolution in both layouts and a matrix product, in float32 and bfloat16, in turns.

    Args:
        device: Where.
        quick: Small shapes: no peak, but the same path.
        on_done: Told which part is done, 0 to 1.
    """
    shape = SHAPES['quick' if quick else device]
    works: dict[tuple[str, str, torch.dtype], Work] = {}
    macs: dict[str, int] = {}
    for kernel, (layout, memory_format), dtype in product((3, 1), LAYOUTS.items(), DTYPES):
        name = f'{kernel}x{kernel} convolution, {shape.channels} channels, {shape.batch} x {shape.side} x {shape.side}'
        options = dict(device=device, dtype=dtype)
        conv = nn.Conv2d(shape.channels, shape.channels, kernel, padding=kernel // 2, bias=False, **options)
        image = torch.randn(shape.batch, shape.channels, shape.side, shape.side, **options)
        weight = conv.weight.detach().to(memory_format=memory_format)
        image = image.to(memory_format=memory_format)
        works[name, layout, dtype] = partial(F.conv2d, image, weight, padding=kernel // 2)
        macs[name] = image.numel() * shape.channels * kernel**2
    for dtype in DTYPES:
        name = f'matrix product, {shape.matrix} x {shape.matrix}'
        a, b = torch.randn(2, shape.matrix, shape.matrix, device=device, dtype=dtype)
        works[name, 'contiguous', dtype] = partial(torch.matmul, a, b)
        macs[name] = shape.matrix**3

    calls = {key: warm_up(work, device) for key, work in works.items()}
    budget = Budget(seconds=0 if quick else 1, rounds=2 if quick else 5)
    seconds = take_turns(works, calls, budget, device, on_done)
    return [
        Peak(name, layout, str(dtype).removeprefix('torch.'), 2 * macs[name] / min(timed) / 1e9)
        for (name, layout, dtype), timed in seconds.items()
    ]


def best(peaks: list[Peak], dtype: torch.dtype) -> Peak:
    """The machine's peak in a dtype."""
    return max((p for p in peaks if p.dtype == str(dtype).removeprefix('torch.')), key=lambda p: p.gflops)
