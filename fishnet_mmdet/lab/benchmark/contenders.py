"""Who is timed: networks and the forms they come in, as data. A new form is one line of `FORMS`.

Every contender does the same work: from a contiguous float32 image to the four levels that a detector's neck takes.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial, reduce
from importlib.util import find_spec
from typing import NamedTuple

import torch
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fishnet_mmdet.deploy.inference import optimize_for_inference
from fishnet_mmdet.errors import UserError
from fishnet_mmdet.lab.paper.counting import count
from fishnet_mmdet.network.arch import ARCHS
from fishnet_mmdet.network.fishnet import FishNet

INSTALL_PEER = 'pip install pytorchcv==0.0.74'


class BenchmarkError(UserError, ValueError):
    """What was asked for cannot be timed; the message names it, its value and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One kind of work.

    Attributes:
        title: For tables and plots.
        training: Whether it goes forward and backward; else forward only.
        fixed: Whether BN is fixed, statistics and affine, in training.
        batch: Images at once, unless the user says otherwise.
        side: Of the square images, likewise.
    """

    title: str
    training: bool
    fixed: bool = False
    batch: int
    side: int

    @property
    def passes(self) -> int:
        """Convolutions of an image are done so many times: backward takes two for one (input and weight)."""
        return 3 if self.training else 1


TASKS = {
    'inference': Task(title='inference', training=False, batch=1, side=448),
    'fixed': Task(title='training step, BN fixed', training=True, fixed=True, batch=2, side=320),
    'live': Task(title='training step, live BN', training=True, batch=2, side=320),
}


class Network(NamedTuple):
    """A backbone to be timed.

    Attributes:
        build: Makes it with random weights; takes whether BN is fixed, and arguments of `FishNet`.
        peer: Whose eager form it is measured against.
        distribution: What must be installed, and how.
    """

    build: Callable[..., nn.Module]
    peer: str
    distribution: tuple[str, str] | None = None


def _fishnet(arch: str, *, fixed: bool, **arguments: object) -> nn.Module:
    return FishNet(arch, norm_cfg=dict(type='BN', requires_grad=not fixed), norm_eval=fixed, **arguments)


def _resnet(kind: str, *, fixed: bool, **arguments: object) -> nn.Module:
    from mmdet.registry import MODELS  # mmdet takes seconds to import

    with DefaultScope.overwrite_default_scope('mmdet'):
        norm = dict(norm_cfg=dict(type='BN', requires_grad=not fixed), norm_eval=fixed)
        return MODELS.build(dict(type=kind, depth=50, **norm, **arguments))


class PytorchcvFishNet(nn.Module):
    """pytorchcv's FishNet without its classifier; its refined features are seen by hooks, its code is as installed."""

    def __init__(self, name: str, *, fixed: bool) -> None:
        super().__init__()
        from pytorchcv.model_provider import get_model

        features = get_model(name, pretrained=False).features
        self.init_block, self.hourglass = features.init_block, features.hg
        self.fixed = fixed
        self._refined: list[Tensor] = []
        for unit in self.hourglass.down2_seq:
            unit.blocks.register_forward_hook(lambda _, __, refined: self._refined.append(refined))
        if fixed:
            for norm in _norms(self):
                norm.requires_grad_(False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W), sides multiples of 32 -> four levels."""
        last = self.hourglass(self.init_block(image))
        refined, self._refined = self._refined, []
        return (*refined, last)

    def train(self, mode: bool = True) -> 'PytorchcvFishNet':
        """Leaves fixed BN in eval mode, as Detectron does."""
        super().train(mode)
        if self.fixed:
            for norm in _norms(self):
                norm.eval()
        return self


NETWORKS: dict[str, Network] = {
    **{name: Network(partial(_fishnet, name), peer='pytorchcv-fishnet150') for name in ARCHS},
    'fishnet99': Network(partial(_fishnet, 'fishnet99'), peer='pytorchcv-fishnet99'),
    **{
        f'pytorchcv-{name}': Network(partial(PytorchcvFishNet, name), f'pytorchcv-{name}', ('pytorchcv', INSTALL_PEER))
        for name in ('fishnet99', 'fishnet150')
    },
    'resnet50': Network(partial(_resnet, 'ResNet'), peer='pytorchcv-fishnet150'),
    'resnext50': Network(partial(_resnet, 'ResNeXt', groups=32, base_width=4), peer='pytorchcv-fishnet150'),
}
"""By the name on the command line. FishNet-201 and the ResNets are held against pytorchcv's FishNet-150."""


class InDtype(nn.Module):
    """A network of another dtype, which takes its images as they come."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network.to(dtype), dtype

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Casts the image."""
        return self.network(image.to(self.dtype))


class LaidOut(nn.Module):
    """A network that gets its images in channels_last, as the hook `ChannelsLast` sees to in a detector."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Lays the image out."""
        return self.network(image.contiguous(memory_format=torch.channels_last))


class Autocast(nn.Module):
    """A network under torch's automatic mixed precision; its weights stay float32."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network, dtype

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Goes forward in mixed precision."""
        with torch.autocast(image.device.type, self.dtype):
            return self.network(image)


def _as_built(network: nn.Module) -> nn.Module:
    return network


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a network is made into before it is timed.

    Attributes:
        what: A few words for the list of forms.
        arguments: Of `FishNet`'s constructor; other networks have no such form.
        prepare: Takes the network with its weights, in its mode and on its device; returns what is timed.
        dtype: What it computes in: says which peak of the machine it is held against.
        tasks: Those it is made for.
    """

    what: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    prepare: Callable[[nn.Module], nn.Module] = _as_built
    dtype: torch.dtype = torch.float32
    tasks: tuple[str, ...] = tuple(TASKS)


TRAINING = tuple(name for name, task in TASKS.items() if task.training)

FORMS: dict[str, Form] = {
    'eager': Form(what='as built: float32, contiguous'),
    'channels_last': Form(
        what='channels_last weights, and so channels_last features',
        prepare=lambda network: network.to(memory_format=torch.channels_last),
    ),
    'bfloat16': Form(
        what='weights and features in bfloat16',
        prepare=partial(InDtype, dtype=torch.bfloat16),
        dtype=torch.bfloat16,
        tasks=('inference',),
    ),
    'amp': Form(
        what='automatic mixed precision, bfloat16',
        prepare=partial(Autocast, dtype=torch.bfloat16),
        dtype=torch.bfloat16,
    ),
    'compiled': Form(
        what='compile=True, and images in channels_last',
        arguments=dict(compile=True),
        prepare=LaidOut,
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
            what=f'recomputes in backward, grain: {grain}', arguments=dict(with_cp=grain), tasks=TRAINING
        )
        for grain in ('norm', 'bottleneck', 'stage')
    },
}
"""By the name on the command line; several at once, applied from left to right: `channels_last+amp`."""


class Contender(NamedTuple):
    """A network in a form."""

    network: str
    form: str

    def __str__(self) -> str:
        return f'{self.network}:{self.form}'

    @property
    def made(self) -> Form:
        """The form, put together of its parts."""
        return reduce(_then, (FORMS[part] for part in self.form.split('+')))

    @property
    def peer(self) -> 'Contender':
        """What its ratios are against, if that is timed too."""
        return Contender(NETWORKS[self.network].peer, 'eager')


def _then(first: Form, second: Form) -> Form:
    return Form(
        what=f'{first.what}; {second.what}',
        arguments={**first.arguments, **second.arguments},
        prepare=lambda network: second.prepare(first.prepare(network)),
        dtype=first.dtype if second.dtype == torch.float32 else second.dtype,
        tasks=tuple(task for task in first.tasks if task in second.tasks),
    )


DEFAULT = (
    'pytorchcv-fishnet99', 'fishnet99:eager,channels_last',
    'pytorchcv-fishnet150',
    'fishnet150:eager,channels_last,channels_last+amp,optimized,optimized-bf16',
    'fishnet150:with_cp=norm+channels_last,with_cp=bottleneck+channels_last,with_cp=stage+channels_last',
    'fishnet201:eager,channels_last',
    'resnet50:eager,channels_last', 'resnext50:eager,channels_last',
)  # fmt: skip
QUICK = ('pytorchcv-fishnet99', 'fishnet99:eager,channels_last,with_cp=stage', 'resnet50')


def read_contenders(given: Iterable[str]) -> list[Contender]:
    """Reads what a user typed: NETWORK (its eager form) or NETWORK:FORM,FORM, a form being of one or more parts joined by +.

    Raises:
        BenchmarkError: A network or form that is not known, or a form that is not of that network.
    """
    contenders = []
    for text in given:
        network, _, forms = text.partition(':')
        if network not in NETWORKS:
            raise BenchmarkError(f'contender {text}: no network {network!r}; one of {", ".join(NETWORKS)}')
        for form in forms.split(',') if forms else ('eager',):
            contenders.append(_checked(Contender(network, form)))
    return list(dict.fromkeys(contenders))


def _checked(contender: Contender) -> Contender:
    for part in contender.form.split('+'):
        if part not in FORMS:
            raise BenchmarkError(
                f'contender {contender}: no form {part!r}; one of {", ".join(FORMS)}, or several joined by +'
            )
        if FORMS[part].arguments and contender.network not in ARCHS:
            raise BenchmarkError(f"contender {contender}: {part} is FishNet's; one of {', '.join(ARCHS)}")
    if not contender.made.tasks:
        raise BenchmarkError(
            f'contender {contender}: its parts have no task in common; '
            + ', '.join(f'{part} is for {" and ".join(FORMS[part].tasks)}' for part in contender.form.split('+'))
        )
    return contender


def installed(contenders: Iterable[Contender]) -> tuple[list[Contender], list[str]]:
    """Those whose network is there, and a line about what is not."""
    here, missing = [], {}
    for contender in contenders:
        distribution = NETWORKS[contender.network].distribution
        if distribution is None or find_spec(distribution[0]):
            here.append(contender)
        else:
            missing[distribution] = None
    lines = [
        f'{name} is not installed: going on without it, ratios are against our eager float32 ({how})'
        for name, how in missing
    ]
    return here, lines


def build(contender: Contender, task: Task, device: str) -> nn.Module:
    """A contender ready for its task: weights drawn, statistics of BN taken, in its mode, form and place."""
    form = contender.made
    network = NETWORKS[contender.network].build(fixed=task.fixed, **form.arguments)
    network.load_state_dict(_drawn(contender.network))
    network.train(task.training)
    return form.prepare(network.to(device))


@cache
def gmacs(network: str, side: int) -> float:
    """Multiply-adds of the convolutions for one square image, in 1e9."""
    with torch.device('meta'):
        return count(NETWORKS[network].build(fixed=False), side).gmacs


@cache
def _drawn(network: str) -> dict[str, Tensor]:
    """The weights of every form of a network."""
    torch.manual_seed(0)
    drawn = NETWORKS[network].build(fixed=False)
    take_statistics(drawn, torch.randn(2, 3, 96, 96))
    return drawn.state_dict()


def take_statistics(network: nn.Module, image: Tensor) -> None:
    """Sets the statistics of BN to those of a batch: with fixed BN of (0, 1) random features explode with depth."""
    norms = _norms(network)
    before = [(norm.training, norm.momentum) for norm in norms]
    for norm in norms:
        norm.train().momentum = 1.0
    with torch.no_grad():
        network(image)
    for norm, (training, momentum) in zip(norms, before, strict=True):
        norm.train(training).momentum = momentum


def _norms(network: nn.Module) -> list[_BatchNorm]:
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]
