"""FishNet architectures as data: every variant is one row of numbers.

Source: FishNet (NeurIPS 2018, arXiv 1901.03495), in the architecture that its authors released, which is the one that
existing pretrained weights fit. Widths are channels; `C @ 1/s` is C channels at stride s. This file does not need
torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.network.arch_checks import check_arch
from fishnet_mmdet.network.rows import Rows, Three

CHOICES: dict[str, tuple[str, ...]] = {
    'stem': ('conv3x3', 'conv7x7', 'residual'),
    'down': ('max2', 'max3', 'avg2', 'conv'),
    'up': ('nearest', 'bilinear'),
    'dilation': ('body', 'none', 'body_head'),
    'attention': ('se', 'none'),
    'levels': ('sum', 'norm_relu'),
}
"""The values of each named choice of an architecture; the first one is the released network's."""


@dataclass(frozen=True, kw_only=True)
class FishNetArch(Rows):
    """How many bottlenecks each stage holds, and how wide it is. What follows from it, stage by stage: `Rows`.

    Every triple is in the order of the forward pass: the tail and the head go down from 1/4 to 1/32,
    the body goes up from 1/32 to 1/4.

    Attributes:
        tail: Bottlenecks of tail stages 1-3.
        bridge: Bottlenecks of the bridge, which joins tail and body at 1/32.
        body: Bottlenecks of each body stage; the first one of a stage is its UR unit.
        body_transfer: Bottlenecks of the transfer blocks into the body; they carry the tail at 1/16 and 1/8, and the
            stem.
        head: Bottlenecks of each head stage (DR-block).
        head_transfer: Bottlenecks of the transfer blocks into the head; they carry the body at 1/8 and 1/16, and the
            bridge.
        stem_width: Channels that leave the stem.
        tail_widths: Channels that leave each tail stage; the bridge keeps the last.
        body_widths: Channels to which each body stage reduces its trunk (the k of eq. 8 follows).
        stem: 'conv3x3' (three of them, released), 'conv7x7' (one), 'residual' (two residual blocks after one 3x3).
        stem_stride: 4 as released. For small images, such as 64 x 64: 2 leaves out the max-pool, 1 also sets the first
            convolution to stride 1. Every other stride follows; the weights are the same.
        down: Down-sampling in tail and head (paper 4.3): 2x2 max-pool, 3x3 max-pool, 2x2 average-pool, or 'conv', a
            strided 1x1 convolution, which is an I-conv on the trunk.
        up: Up-sampling in the body: 'nearest' (paper) or 'bilinear'.
        dilation: Which 3x3 convolutions are dilated: 'none', those of the 'body' (1, 2, 4 going up), or of 'body_head'
            (in the head 4, 2, 1 going down).
        attention: Channel attention of the bridge: 'se' (squeeze and excitation) or 'none'.
        levels: What a neck gets: 'sum', the head's features as they are, or 'norm_relu', each behind a norm and a ReLU
            of its own, for training from random weights.
        group_width: 0, or for FishNeXt (paper 4.2) the width of a group at 1/4. Bottlenecks are then half as wide
            inside, not a quarter, and their 3x3 convolutions grouped; a group is twice as wide at each coarser level.

    Raises:
        ConfigError: A field that cannot be built; the message names the field and the values that it may have.
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
    levels: str = 'sum'
    group_width: int = 0

    def __post_init__(self) -> None:
        check_arch(self, CHOICES)

    def scaled(self, width: float) -> 'FishNetArch':
        """The same architecture with every width multiplied; `group_width` stays.

        Raises:
            ConfigError: The widths are then not whole numbers, or cannot be built.
        """

        def times(name: str, value: int) -> int:
            if (product := value * width) != int(product):
                raise ConfigError(f'arch.width = {width} makes {product} channels of the {value} of {name}')
            return int(product)

        return replace(
            self,
            stem_width=times('stem_width', self.stem_width),
            tail_widths=tuple(times('tail_widths', w) for w in self.tail_widths),
            body_widths=tuple(times('body_widths', w) for w in self.body_widths),
        )


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
"""Every architecture with a name: fishnet99, -150 and -201 as released, and their grouped forms, fishnext..."""

# FishNeXt (paper 4.2): the same wiring, grouped. "4d" in the paper: groups are 4 wide at 1/4.
ARCHS |= {f'fishnext{n}': replace(ARCHS[f'fishnet{n}'], group_width=4) for n in (99, 150, 201)}

# The winner of COCO 2018 had 229 convolutions and its architecture was never published. This is a RECONSTRUCTION:
# with the released stem, 229 in all is nine bottlenecks more than FishNet-201, added to its deepest stages.
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
        convolutions: Convolutions in all, shortcuts and bridge included, and the linear layer of the classifier.
        conv_gmacs: Multiply-adds of these for one 224 x 224 image, in 1e9.
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
    """The name of an architecture in `ARCHS`, None where it has none."""
    return next((name for name, known in ARCHS.items() if known == arch), None)


def _named(name: str, key: str) -> FishNetArch:
    for known in (name, f'fishnet{name}'):
        if known in ARCHS:
            return ARCHS[known]
    raise ConfigError(
        f'{key} = {name!r} is not a FishNet; allowed: {", ".join(ARCHS)} (short: without "fishnet"), or, for arch, a '
        'dict of FishNetArch fields'
    )


def resolve_arch(arch: str | Mapping | FishNetArch) -> FishNetArch:
    """Turns what a config says into an architecture.

    Args:
        arch: A name of `ARCHS` ('fishnet150', or short '150'), or an architecture of one's own: a `FishNetArch` or a
            mapping of its fields. Two more keys are understood in a mapping: `base`, a name whose fields the others
            replace, and `width`, by which all widths are multiplied: `dict(base='fishnet150', down='avg2', width=0.5)`.

    Raises:
        ConfigError: An unknown name, or a field that is missing, unknown or cannot be built.
    """
    if isinstance(arch, FishNetArch):
        return arch
    if isinstance(arch, str):
        return _named(arch, 'arch')
    if not isinstance(arch, Mapping):
        raise ConfigError(f'arch = {arch!r} must be a name, a dict or a FishNetArch, not {type(arch).__name__}')

    given = {name: tuple(v) if isinstance(v, list) else v for name, v in arch.items()}
    base, width = given.pop('base', None), given.pop('width', 1)
    known = {field.name for field in fields(FishNetArch)}
    required = {name for name in known if not hasattr(FishNetArch, name)} if base is None else set()
    if unknown := sorted(set(given) - known):
        names = ', '.join(field.name for field in fields(FishNetArch))
        raise ConfigError(f'arch has no field {", ".join(unknown)}; its fields: {names}, base, width')
    if missing := sorted(required - set(given)):
        raise ConfigError(f'arch needs the field {", ".join(missing)}; it got {", ".join(arch) or "none"}')
    if type(width) not in (int, float) or width <= 0:
        raise ConfigError(f'arch.width = {width!r} must be a number above 0')
    own = FishNetArch(**given) if base is None else replace(_named(base, 'arch.base'), **given)
    return own if width == 1 else own.scaled(width)
