"""The forms that a network is timed in, as data. A new form is one line of `FORMS`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial, reduce

import torch
from torch import Tensor, nn

from fishnet_mmdet.deploy.inference import optimize_for_inference
from fishnet_mmdet.lab.benchmark.tasks import TASKS, TRAINING
from fishnet_mmdet.training.cpu_amp import parts_in_bfloat16


class InDtype(nn.Module):
    """A network in another dtype, which converts its images.

    Args:
        network: The network; its weights are converted in place.
        dtype: The dtype to compute in.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network.to(dtype), dtype

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Converts the image and computes the levels."""
        return self.network(image.to(self.dtype))


class ChannelsLastImages(nn.Module):
    """A network that gets its images in channels_last, as the hook `ChannelsLast` does in a detector.

    Args:
        network: The network.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Changes the memory format of the image and computes the levels."""
        return self.network(image.contiguous(memory_format=torch.channels_last))


class MixedPrecision(nn.Module):
    """A network in bfloat16, on a CPU as `--amp` trains it; its weights stay float32.

    Args:
        network: The network.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.backbone = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Computes the levels in mixed precision; on a CPU they are float32, as `CpuAmpOptimWrapper` hands them on."""
        with torch.autocast('cuda', torch.bfloat16) if image.is_cuda else parts_in_bfloat16(self):
            return self.backbone(image)


def _unchanged(network: nn.Module) -> nn.Module:
    return network


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a network is built and prepared before it is timed.

    Attributes:
        what: A short description for `--help`.
        arguments: Arguments of `FishNet`; a form with arguments exists for FishNet only.
        prepare: Takes the network with its weights, in its mode and on its device; returns what is timed.
        dtype: The dtype it computes in, whose peak rate its share is of.
        tasks: Names of the tasks it can do.
    """

    what: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    prepare: Callable[[nn.Module], nn.Module] = _unchanged
    dtype: torch.dtype = torch.float32
    tasks: tuple[str, ...] = tuple(TASKS)


FORMS: dict[str, Form] = {
    'eager': Form(what='as built: float32, contiguous'),
    'channels_last': Form(
        what='weights in channels_last, and therefore features too',
        prepare=lambda network: network.to(memory_format=torch.channels_last),
    ),
    'bfloat16': Form(
        what='weights and features in bfloat16',
        prepare=partial(InDtype, dtype=torch.bfloat16),
        dtype=torch.bfloat16,
        tasks=('inference',),
    ),
    'amp': Form(
        what='mixed precision, float32 weights and maps in bfloat16; on a CPU as --amp trains',
        prepare=MixedPrecision,
        dtype=torch.bfloat16,
    ),
    'compiled': Form(
        what='compile=True, and images in channels_last',
        arguments=dict(compile=True),
        prepare=ChannelsLastImages,
    ),
    **{
        f'optimized{kind}': Form(
            what=f'optimize_for_inference{", compiled" * bool(compile)}',
            prepare=partial(optimize_for_inference, dtype=dtype, compile=compile),
            dtype=dtype,
            tasks=('inference',),
        )
        for kind, dtype, compile in (
            ('', torch.float32, False),
            ('-bf16', torch.bfloat16, False),
            ('-compiled', torch.float32, True),
            ('-bf16-compiled', torch.bfloat16, True),
        )
    },
    **{
        f'with_cp={grain}': Form(
            what=f'recomputes in the backward pass, grain: {grain}', arguments=dict(with_cp=grain), tasks=TRAINING
        )
        for grain in ('norm', 'bottleneck', 'stage')
    },
}
"""By the name on the command line. Forms joined by + are applied from left to right: `channels_last+amp`."""


def combined(form: str) -> Form:
    """One form made of several names of `FORMS` joined by +."""
    return reduce(_then, (FORMS[part] for part in form.split('+')))


def _then(first: Form, second: Form) -> Form:
    return Form(
        what=f'{first.what}; {second.what}',
        arguments={**first.arguments, **second.arguments},
        prepare=lambda network: second.prepare(first.prepare(network)),
        dtype=first.dtype if second.dtype == torch.float32 else second.dtype,
        tasks=tuple(task for task in first.tasks if task in second.tasks),
    )
