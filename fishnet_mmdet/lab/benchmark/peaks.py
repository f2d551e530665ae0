"""The highest rates that the machine's convolutions and matrix products reach, measured in the same run."""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from fishnet_mmdet.lab.benchmark.tasks import BenchmarkError
from fishnet_mmdet.lab.benchmark.timing import Budget, Work, take_turns, warm_up

DTYPES = (torch.float32, torch.bfloat16)
MEMORY_FORMATS = {'contiguous': torch.contiguous_format, 'channels_last': torch.channels_last}


class Peak(NamedTuple):
    """The rate of one operation.

    Attributes:
        operation: Its name and shape.
        memory_format: Memory format of image and weights; 'contiguous' for a matrix product.
        dtype: 'float32' or 'bfloat16'.
        gflops: Best of all rounds, in 1e9 floating-point operations per second (two for a multiply-add).
    """

    operation: str
    memory_format: str
    dtype: str
    gflops: float


class Shape(NamedTuple):
    """Shapes of the operations: large enough to reach the peak, small enough to take a moment.

    Attributes:
        batch: Images of a convolution.
        channels: Channels of a convolution, in and out.
        side: Side of its square feature maps.
        matrix: Side of the square matrices.
    """

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
    """Checks that a device can be used.

    Raises:
        BenchmarkError: Not 'cpu' or 'cuda', or no GPU that this torch can use.
    """
    if device not in ('cpu', 'cuda'):
        raise BenchmarkError(f'--device {device}: must be cpu or cuda')
    if device == 'cuda' and not torch.cuda.is_available():
        raise BenchmarkError('--device cuda: torch finds no CUDA GPU here; give --device cpu')


def set_up(device: str, *, tf32: bool, threads: int | None) -> None:
    """Applies the settings that all contenders share.

    Args:
        device: 'cpu' or 'cuda'.
        tf32: Whether CUDA may compute float32 products in TF32.
        threads: Threads of torch on the CPU; None for torch's own choice.
    """
    if threads is not None:
        if threads < 1:
            raise BenchmarkError(f'--threads {threads}: must be at least 1')
        torch.set_num_threads(threads)
    if device == 'cuda':
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = True  # every size is timed many times


def measure_peaks(
    device: str, *, quick: bool = False, on_done: Callable[[float], None] = lambda done: None
) -> list[Peak]:
    """Times a 3x3 and a 1x1 convolution in both memory formats, and a matrix product, in float32 and bfloat16.

    Args:
        device: 'cpu' or 'cuda'.
        quick: Whether to use small shapes, which test the code but reach no peak.
        on_done: Called with the completed fraction, 0 to 1.
    """
    shape = SHAPES['quick' if quick else device]
    works: dict[tuple[str, str, torch.dtype], Work] = {}
    macs: dict[str, int] = {}
    for kernel, (memory_format, torch_format), dtype in product((3, 1), MEMORY_FORMATS.items(), DTYPES):
        name = f'{kernel}x{kernel} convolution, {shape.channels} channels, {shape.batch} x {shape.side} x {shape.side}'
        options = dict(device=device, dtype=dtype)
        conv = nn.Conv2d(shape.channels, shape.channels, kernel, padding=kernel // 2, bias=False, **options)
        image = torch.randn(shape.batch, shape.channels, shape.side, shape.side, **options)
        weight = conv.weight.detach().to(memory_format=torch_format)
        image = image.to(memory_format=torch_format)
        works[name, memory_format, dtype] = partial(F.conv2d, image, weight, padding=kernel // 2)
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
        Peak(name, memory_format, _name(dtype), 2 * macs[name] / min(timed) / 1e9)
        for (name, memory_format, dtype), timed in seconds.items()
    ]


def highest(peaks: list[Peak], dtype: torch.dtype) -> Peak:
    """The highest of the peaks in a dtype."""
    return max((p for p in peaks if p.dtype == _name(dtype)), key=lambda p: p.gflops)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix('torch.')
