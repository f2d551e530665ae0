"""Contenders: a network in a form, as written on the command line, checked and built."""

from collections.abc import Iterable
from importlib.util import find_spec
from typing import NamedTuple

from torch import nn

from fishnet_mmdet.lab.benchmark.forms import FORMS, Form, combined
from fishnet_mmdet.lab.benchmark.networks import NETWORKS, random_weights
from fishnet_mmdet.lab.benchmark.tasks import BenchmarkError, Task
from fishnet_mmdet.network.arch import ARCHS


class Contender(NamedTuple):
    """A network in a form.

    Attributes:
        network: A name of `NETWORKS`.
        form: One or more names of `FORMS`, joined by +.
    """

    network: str
    form: str

    def __str__(self) -> str:
        return f'{self.network}:{self.form}'

    @property
    def made(self) -> Form:
        """The form, combined of its parts."""
        return combined(self.form)

    @property
    def peer(self) -> 'Contender':
        """The contender that its ratios are against, if that one is timed too."""
        return Contender(NETWORKS[self.network].peer, 'eager')


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
    """Reads contenders as they are typed on the command line.

    Args:
        given: Texts such as NETWORK (its eager form) or NETWORK:FORM,FORM; a FORM is one or more names joined by +.

    Raises:
        BenchmarkError: A network or form that is not known, or a form that the network does not have.
    """
    contenders = []
    for text in given:
        network, _, forms = text.partition(':')
        if network not in NETWORKS:
            raise BenchmarkError(f'contender {text}: unknown network {network!r}; give one of {", ".join(NETWORKS)}')
        for form in forms.split(',') if forms else ('eager',):
            contenders.append(_checked(Contender(network, form)))
    return list(dict.fromkeys(contenders))


def _checked(contender: Contender) -> Contender:
    parts = contender.form.split('+')
    for part in parts:
        if part not in FORMS:
            raise BenchmarkError(
                f'contender {contender}: unknown form {part!r}; give one of {", ".join(FORMS)}, or several joined by +'
            )
        if FORMS[part].arguments and contender.network not in ARCHS:
            raise BenchmarkError(
                f'contender {contender}: the form {part} exists for FishNet only; give one of {", ".join(ARCHS)}'
            )
    if not contender.made.tasks:
        raise BenchmarkError(
            f'contender {contender}: the forms have no task in common; '
            + ', '.join(f'{part} is for {" and ".join(FORMS[part].tasks)}' for part in parts)
        )
    return contender


def installed(contenders: Iterable[Contender]) -> tuple[list[Contender], list[str]]:
    """Leaves out contenders whose package is not installed.

    Returns:
        The other contenders, and one line for each missing package.
    """
    here, missing = [], {}
    for contender in contenders:
        requires = NETWORKS[contender.network].requires
        if requires is None or find_spec(requires[0]):
            here.append(contender)
        else:
            missing[requires] = None
    lines = [
        f'{name} is not installed: it is left out, and ratios are against our eager float32 form ({command})'
        for name, command in missing
    ]
    return here, lines


def build(contender: Contender, task: Task, device: str) -> nn.Module:
    """Builds a contender for a task: random weights, statistics of BN, mode, device and form."""
    form = contender.made
    network = NETWORKS[contender.network].build(fixed=task.fixed, **form.arguments)
    network.load_state_dict(random_weights(contender.network))
    network.train(task.training)
    return form.prepare(network.to(device))


def baseline(contender: Contender, timed: list[Contender]) -> Contender:
    """The contender that ratios are against: the peer, else our eager form of that peer, else the first one timed."""
    own = Contender(contender.peer.network.removeprefix('pytorchcv-'), 'eager')
    return next(c for c in (contender.peer, own, timed[0]) if c in timed)
