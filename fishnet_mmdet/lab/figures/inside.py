"""What one stage of a built network is made of: the data of its drawing."""

from dataclasses import dataclass

import torch
from torch import nn

from fishnet_mmdet.lab.figures.backbones import FigureError
from fishnet_mmdet.network.arch import FishNetArch
from fishnet_mmdet.network.blocks import Bottleneck, ChannelReduction, PreActConv
from fishnet_mmdet.network.fishnet import FishNet
from fishnet_mmdet.network.rows import StageRow


@dataclass(frozen=True)
class Conv:
    """A convolution, as its drawing says it.

    Attributes:
        kernel: Such as '3x3'.
        width: Channels that leave it.
        remark: Dilation and groups; empty where there are none.
    """

    kernel: str
    width: int
    remark: str = ''

    @classmethod
    def of(cls, block: PreActConv) -> 'Conv':
        """Describes a built block."""
        conv = block.conv
        remarks = [f'dilation {conv.dilation[0]}'] if conv.dilation[0] > 1 else []
        if conv.groups > 1:
            remarks.append(f'groups of {conv.in_channels // conv.groups}')
        return cls('x'.join(map(str, conv.kernel_size)), conv.out_channels, ', '.join(remarks))


@dataclass(frozen=True)
class Unit:
    """A bottleneck.

    Attributes:
        branch: The three convolutions of its residual branch.
        shortcut: What the trunk passes: 'identity', 'sum of 2 channels', or a convolution, which is an I-conv.
    """

    branch: tuple[Conv, ...]
    shortcut: str | Conv

    @classmethod
    def of(cls, block: Bottleneck) -> 'Unit':
        """Describes a built bottleneck."""
        branch = tuple(Conv.of(part) for part in (block.squeeze, block.conv, block.expand))
        if isinstance(block.shortcut, nn.Identity):
            return cls(branch, 'identity')
        if isinstance(block.shortcut, ChannelReduction):
            return cls(branch, f'sum of {block.shortcut.k} channels')
        return cls(branch, Conv.of(block.shortcut))


@dataclass(frozen=True)
class Inside:
    """A stage.

    Attributes:
        row: Its row.
        strides: Stride of each level.
        before: Convolutions on the trunk before the bottlenecks; only the bridge has any.
        units: Its bottlenecks.
        attention: Channels of the two convolutions of the bridge's channel attention; empty without one.
        sampling: How the resolution changes; empty where it stays, or where a convolution changes it.
        strided: The convolution that halves the resolution, if one does.
    """

    row: StageRow
    strides: tuple[int, ...]
    before: tuple[Conv, ...]
    units: tuple[Unit, ...]
    attention: tuple[int, ...]
    sampling: str
    strided: Conv | None

    @property
    def weights_on_trunk(self) -> bool:
        """Whether a gradient cannot pass the trunk unchanged."""
        i_convs = any(isinstance(unit.shortcut, Conv) for unit in self.units)
        return bool(self.before or self.attention or self.strided or i_convs)

    def size(self, width: int, level: int) -> str:
        """`C @ 1/s`."""
        return f'{width} @ 1/{self.strides[level]}'


DOWN = {'max2': '2x2 max-pool', 'max3': '3x3 max-pool', 'avg2': '2x2 mean'}


def look_inside(arch: FishNetArch, stage: str) -> Inside:
    """Describes a stage of an architecture, from the built network.

    Args:
        arch: The architecture.
        stage: Name of the stage, such as 'body 2'.

    Raises:
        FigureError: There is no such stage.
    """
    with torch.device('meta'):
        stages = {row.name: (row, module) for row, module in FishNet(arch).stages}
    if stage not in stages:
        raise FigureError(f'--stage {stage!r} is not a stage of the fish; allowed: {", ".join(stages)}')
    row, module = stages[stage]
    attention = getattr(module, 'attention', None)
    down = getattr(module, 'down', None)
    strided = Conv.of(down) if isinstance(down, PreActConv) else None
    sampling = f'{arch.up}, x 2' if row.part == 'body' else DOWN.get(arch.down, '') if down else ''
    return Inside(
        row=row,
        strides=arch.strides,
        before=tuple(Conv.of(getattr(module, name)) for name in ('squeeze', 'expand') if hasattr(module, name)),
        units=tuple(Unit.of(block) for block in module.refine),
        attention=(attention.squeeze.out_channels, attention.excite.out_channels) if attention else (),
        sampling=sampling,
        strided=strided,
    )
