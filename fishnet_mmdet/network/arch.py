"""FishNet layouts as data: every variant is one row, every derived number is a property.

Source: FishNet (NeurIPS 2018, arXiv 1901.03495), in the layout that its authors released, which is the
one that existing pretrained weights fit. Widths are channels; `C @ 1/s` is C channels at stride s.
No torch in this file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from itertools import accumulate

Three = tuple[int, int, int]

CHOICES: dict[str, tuple[str, ...]] = {
    'stem': ('conv3x3', 'conv7x7', 'residual'),
    'down': ('max2', 'max3', 'avg2', 'conv'),
    'up': ('nearest', 'bilinear'),
    'dilation': ('body', 'none', 'body_head'),
    'attention': ('se', 'none'),
}
"""What each named choice of a layout may be; the first one is the released network's."""


def _check_field(name: str, value: object, triple: bool) -> None:
    numbers = value if triple else (value,)
    fits = isinstance(numbers, tuple) and len(numbers) == (3 if triple else 1)
    if not fits or not all(type(n) is int and n > 0 for n in numbers):
        wanted = 'three integers' if triple else 'one integer'
        raise ValueError(f'arch.{name} = {value!r} must be {wanted} of at least 1')


def _check_choice(name: str, value: object) -> None:
    if value not in CHOICES[name]:
        raise ValueError(f'arch.{name} = {value!r} must be one of {", ".join(CHOICES[name])}')


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
        stem: 'conv3x3' (three of them, released), 'conv7x7' (one), 'residual' (two residual blocks after one 3x3).
        stem_stride: 4 as released; 2 (no max-pool) or 1 (no stride either) for images so small that the released stem
            would leave nothing to see, such as 64 x 64. Every other stride follows; weights stay.
        down: Down-sampling in tail and head (paper 4.3): 2x2 max-pool, 3x3 max-pool, 2x2 average-pool, or 'conv', a
            strided 1x1 convolution, which is an I-conv on the trunk.
        up: Up-sampling in the body: 'nearest' (paper) or 'bilinear'.
        dilation: Which 3x3 convolutions are dilated: 'none', those of the 'body' (1, 2, 4 going up), or of
            'body_head' (in the head 4, 2, 1 going down).
        attention: Channel attention of the bridge: 'se' (squeeze and excitation) or 'none'.
        group_width: 0, or for FishNeXt (paper 4.2) the width of a group at 1/4: bottlenecks are then half as wide inside,
            not a quarter, and their 3x3 convolutions grouped; groups are twice as wide at each coarser resolution.

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
    stem: str = 'conv3x3'
    stem_stride: int = 4
    down: str = 'max2'
    up: str = 'nearest'
    dilation: str = 'body'
    attention: str = 'se'
    group_width: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name in CHOICES:
                _check_choice(field.name, getattr(self, field.name))
            elif field.name != 'group_width' or self.group_width != 0:
                _check_field(field.name, getattr(self, field.name), triple=field.type == Three)
        if self.stem_stride not in (1, 2, 4):
            raise ValueError(f'arch.stem_stride = {self.stem_stride} must be 4 (released), 2 or 1 (small images)')
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
        if self.group_width:
            self._check_groups()

    def _check_groups(self) -> None:
        one, two, three, four = self.group_widths
        widths = {
            'tail_widths': zip(self.tail_widths, (one, two, three), strict=True),
            'body_widths': zip(self.body_widths, (four, three, two), strict=True),
            'stem_width': [(self.stem_width, one)],
            'body_widths and the skips that join them': zip(self.out_channels[:3], (one, two, three), strict=True),
        }
        for name, pairs in widths.items():
            for width, group in pairs:
                if width // 2 % group:
                    raise ValueError(
                        f'arch.{name}: half of {width} channels cannot be divided into groups of {group} '
                        f'(group_width = {self.group_width} at 1/4, twice as much at each coarser resolution)'
                    )

    @property
    def group_widths(self) -> tuple[int, int, int, int]:
        """Width of a group of a 3x3 convolution at 1/4, 1/8, 1/16 and 1/32; zeros where nothing is grouped."""
        one = self.group_width
        return (one, 2 * one, 4 * one, 8 * one)

    @property
    def body_dilations(self) -> Three:
        """Dilation of each body stage, going up."""
        return (1, 1, 1) if self.dilation == 'none' else (1, 2, 4)

    @property
    def head_dilations(self) -> Three:
        """Dilation of each head stage, going down."""
        return (4, 2, 1) if self.dilation == 'body_head' else (1, 1, 1)

    @property
    def strides(self) -> tuple[int, int, int, int]:
        """Strides of the four resolutions, "stages" 1 to 4 of the paper: 4, 8, 16, 32 as released."""
        one = self.stem_stride
        return (one, 2 * one, 4 * one, 8 * one)

    def scaled(self, width: float) -> 'FishNetArch':
        """The same layout with every width multiplied.

        Raises:
            ValueError: Widths that are then no whole numbers, or cannot be built.
        """

        def times(name: str, value: int) -> int:
            if (product := value * width) != int(product):
                raise ValueError(f'arch.width = {width} makes {product} channels of the {value} of {name}')
            return int(product)

        return replace(
            self,
            stem_width=times('stem_width', self.stem_width),
            tail_widths=tuple(times('tail_widths', w) for w in self.tail_widths),
            body_widths=tuple(times('body_widths', w) for w in self.body_widths),
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

# FishNeXt (paper 4.2): the same wiring, grouped. "4d" in the paper: groups are 4 wide at 1/4.
ARCHS |= {f'fishnext{n}': replace(ARCHS[f'fishnet{n}'], group_width=4) for n in (99, 150, 201)}

# The winner of COCO 2018 had 229 convolutions and its layout was never published. This is a RECONSTRUCTION: with the
# released stem, 229 in all is nine bottlenecks more than FishNet-201, put where its depth lies.
ARCHS['fishnext229'] = FishNetArch(
    tail=(3, 4, 16), bridge=4,
    body=(2, 2, 2), body_transfer=(2, 2, 2),
    head=(2, 4, 12), head_transfer=(2, 2, 11),
    group_width=4,
)  # fmt: skip


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


def name_of(arch: FishNetArch | None) -> str | None:
    """The name of a layout in `ARCHS`, None where it has none."""
    return next((name for name, known in ARCHS.items() if known == arch), None)


def resolve_arch(arch: 'str | Mapping | FishNetArch') -> FishNetArch:
    """Turns what a config says into a layout.

    Args:
        arch: A name of `ARCHS` ('fishnet150', or short '150'), or a layout of one's own: a `FishNetArch` or a mapping of
            its fields. Two more keys are understood in a mapping: `base`, a name whose fields the others replace,
            and `width`, by which all widths are multiplied: `dict(base='fishnet150', down='avg2', width=0.5)`.

    Raises:
        ValueError: An unknown name, or a field that is missing, unknown or cannot be built.
    """
    if isinstance(arch, FishNetArch):
        return arch
    if isinstance(arch, str):
        for name in (arch, f'fishnet{arch}'):
            if name in ARCHS:
                return ARCHS[name]
        allowed = ', '.join(ARCHS)
        raise ValueError(
            f'arch = {arch!r} is not a FishNet; allowed: {allowed} (short: without "fishnet"), '
            'or a layout as a dict of FishNetArch fields'
        )
    if not isinstance(arch, Mapping):
        raise ValueError(f'arch = {arch!r} must be a name, a dict or a FishNetArch, not {type(arch).__name__}')

    given = {name: tuple(v) if isinstance(v, list) else v for name, v in arch.items()}
    base, width = given.pop('base', None), given.pop('width', 1)
    known = {field.name: field for field in fields(FishNetArch)}
    required = {name for name in known if not hasattr(FishNetArch, name)} if base is None else set()
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f'arch has no field {", ".join(unknown)}; its fields: {", ".join(known)}, base, width')
    if missing := sorted(required - set(given)):
        raise ValueError(f'arch needs the field {", ".join(missing)}; it got {", ".join(arch) or "none"}')
    if type(width) not in (int, float) or width <= 0:
        raise ValueError(f'arch.width = {width!r} must be a number above 0')
    layout = FishNetArch(**given) if base is None else replace(resolve_arch(base), **given)
    return layout if width == 1 else layout.scaled(width)
