"""FishNet layouts as data: every variant is one row, every derived number is a property.

Source: FishNet (NeurIPS 2018, arXiv 1901.03495), in the layout that its authors released, which is the
one that existing pretrained weights fit. Widths are channels; `C @ 1/s` is C channels at stride s.
No torch in this file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import accumulate

Three = tuple[int, int, int]


def _check_field(name: str, value: object, triple: bool) -> None:
    numbers = value if triple else (value,)
    fits = isinstance(numbers, tuple) and len(numbers) == (3 if triple else 1)
    if not fits or not all(type(n) is int and n > 0 for n in numbers):
        wanted = 'three integers' if triple else 'one integer'
        raise ValueError(f'arch.{name} = {value!r} must be {wanted} of at least 1')


def _check_multiple(name: str, values: tuple[int, ...], of: int, why: str) -> None:
    if any(v % of for v in values):
        raise ValueError(f'arch.{name} = {values} must be multiples of {of}: {why}')


@dataclass(frozen=True, kw_only=True)
class FishNetArch:
    """How many bottlenecks each stage holds, and how wide it is.

    Every triple is in the order in which the image meets the stages: the tail and the head go
    down from 1/4 to 1/32, the body goes up from 1/32 to 1/4.

    Attributes:
        tail: Bottlenecks of tail stages 1-3.
        bridge: Bottlenecks of the bridge, which joins tail and body at 1/32.
        body: Bottlenecks of each body stage; the first one of a stage is its UR unit.
        body_transfer: Bottlenecks of the transfer blocks into the body; they carry the tail at 1/16, the
            tail at 1/8, the stem at 1/4.
        head: Bottlenecks of each head stage (DR-block).
        head_transfer: Bottlenecks of the transfer blocks into the head; they carry the body at 1/8, the
            body at 1/16, the bridge at 1/32.
        stem_width: Channels that leave the stem.
        tail_widths: Channels that leave each tail stage; the bridge keeps the last.
        body_widths: Channels to which each body stage reduces its trunk (the k of eq. 8 follows).

    Raises:
        ValueError: A field that cannot be built; the message names the field and what it may hold.
    """

    tail: Three
    bridge: int
    body: Three
    body_transfer: Three
    head: Three
    head_transfer: Three
    stem_width: int = 64
    tail_widths: Three = (128, 256, 512)
    body_widths: Three = (512, 384, 256)

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_field(field.name, getattr(self, field.name), triple=field.type == Three)
        for name in ('tail_widths', 'body_widths'):
            _check_multiple(name, getattr(self, name), of=4, why='a bottleneck is a quarter as wide inside')
        _check_multiple('stem_width', (self.stem_width,), of=4, why='head stages carry it to a bottleneck')
        _check_multiple('tail_widths', self.tail_widths[-1:], of=16, why='the bridge squeezes it 16 times')
        for stage, (full, reduced) in enumerate(zip(self.body_in, self.body_widths, strict=True)):
            if full % reduced:
                raise ValueError(
                    f'arch.body_widths[{stage}] = {reduced} does not divide the {full} channels that enter '
                    f'that stage: channel reduction sums k = {full} / {reduced} neighbours (eq. 8)'
                )

    @property
    def body_skips(self) -> Three:
        """Width of the feature that joins each body stage: tail @ 1/16, tail @ 1/8, stem @ 1/4."""
        return (self.tail_widths[1], self.tail_widths[0], self.stem_width)

    @property
    def body_out(self) -> Three:
        """Width after each body stage's concatenation: 768 @ 1/16, 512 @ 1/8, 320 @ 1/4 as released."""
        first, second, third = (a + b for a, b in zip(self.body_widths, self.body_skips, strict=True))
        return (first, second, third)

    @property
    def body_in(self) -> Three:
        """Width that enters each body stage: the bridge's, then the concatenations'."""
        return (self.tail_widths[-1], *self.body_out[:2])

    @property
    def head_skips(self) -> Three:
        """Width of the feature that joins each head stage: body @ 1/8, body @ 1/16, bridge @ 1/32."""
        return (self.body_out[1], self.body_out[0], self.tail_widths[-1])

    @property
    def out_channels(self) -> tuple[int, int, int, int]:
        """What a neck gets: the widths of head stages 1-3 and of the last concatenation.

        320 @ 1/4, 832 @ 1/8, 1600 @ 1/16, 2112 @ 1/32 as released.
        """
        first, second, third, last = accumulate((self.body_out[2], *self.head_skips))
        return (first, second, third, last)


ARCHS: dict[str, FishNetArch] = {
    'fishnet99': FishNetArch(
        tail=(2, 2, 6), bridge=2,
        body=(1, 1, 1), body_transfer=(1, 1, 1),
        head=(1, 2, 2), head_transfer=(1, 1, 4),
    ),
    'fishnet150': FishNetArch(
        tail=(2, 4, 8), bridge=4,
        body=(2, 2, 2), body_transfer=(2, 2, 2),
        head=(2, 2, 4), head_transfer=(2, 2, 4),
    ),
    'fishnet201': FishNetArch(
        tail=(3, 4, 12), bridge=4,
        body=(2, 2, 2), body_transfer=(2, 2, 2),
        head=(2, 3, 10), head_transfer=(2, 2, 9),
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Published:
    """What is known of a released network with its 1000-class classifier; the tests hold the code to it.

    Attributes:
        parameters: Learnt numbers, without BN statistics.
        convolutions: Convolutions in all: shortcuts, bridge and classifier included.
        conv_gmacs: Multiply-adds of the convolutions for one 224 x 224 image, in 1e9.
        released_gmacs: The figure in the authors' README, which counts more than convolutions.
    """

    parameters: int
    convolutions: int
    conv_gmacs: float
    released_gmacs: float


PUBLISHED: dict[str, Published] = {
    'fishnet99': Published(parameters=16_628_904, convolutions=100, conv_gmacs=4.264, released_gmacs=4.31),
    'fishnet150': Published(parameters=24_959_400, convolutions=151, conv_gmacs=6.398, released_gmacs=6.45),
    'fishnet201': Published(parameters=44_584_552, convolutions=202, conv_gmacs=10.514, released_gmacs=10.58),
}


def resolve_arch(arch: 'str | Mapping | FishNetArch') -> FishNetArch:
    """Turns what a config says into a layout.

    Args:
        arch: A name of `ARCHS` ('fishnet150', or short '150'), or a layout of one's own: a
            `FishNetArch` or a mapping of its fields.

    Raises:
        ValueError: An unknown name, or a field that is missing, unknown or cannot be built.
    """
    if isinstance(arch, FishNetArch):
        return arch
    if isinstance(arch, str):
        if (name := f'fishnet{arch.removeprefix("fishnet")}') in ARCHS:
            return ARCHS[name]
        allowed = ', '.join(ARCHS)
        raise ValueError(
            f'arch = {arch!r} is not a FishNet; allowed: {allowed} (short: without "fishnet"), '
            'or a layout as a dict of FishNetArch fields'
        )
    if not isinstance(arch, Mapping):
        raise ValueError(
            f'arch = {arch!r} must be a name, a dict or a FishNetArch, not {type(arch).__name__}'
        )

    known = {field.name: field for field in fields(FishNetArch)}
    required = {name for name in known if not hasattr(FishNetArch, name)}
    if unknown := sorted(set(arch) - set(known)):
        raise ValueError(f'arch has no field {", ".join(unknown)}; its fields: {", ".join(known)}')
    if missing := sorted(required - set(arch)):
        raise ValueError(f'arch needs the field {", ".join(missing)}; it got {", ".join(arch) or "none"}')
    return FishNetArch(**{name: tuple(v) if isinstance(v, list) else v for name, v in arch.items()})
