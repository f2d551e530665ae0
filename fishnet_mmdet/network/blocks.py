"""The blocks of the fish: pre-activation convolution, channel reduction, bottleneck, transfer block."""

from typing import Literal

from mmcv.cnn import build_norm_layer
from torch import Tensor, nn

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.network.ops.channel_sum import channel_sum
from fishnet_mmdet.network.ops.norm_relu import norm_relu
from fishnet_mmdet.network.ops.norm_relu_conv import can_recompute, norm_relu_conv
from fishnet_mmdet.network.ops.recompute import Recomputable, recomputable
from fishnet_mmdet.network.rows import StageRow, TransferRow

Shortcut = Literal['iconv', 'reduction']


def build_norm(norm_cfg: dict, width: int) -> nn.Module:
    """Builds the norm of a config (`dict(type='BN')`, SyncBN, GN, ...) for `width` channels.

    Raises:
        ConfigError: No norm of this type is registered.
    """
    try:
        return build_norm_layer(norm_cfg, width)[1]
    except KeyError as error:
        raise ConfigError(f'norm_cfg = {norm_cfg!r}: the type {norm_cfg["type"]!r} is not a registered norm') from error


class PreActConv(Recomputable):
    """Norm, ReLU, convolution, in this order; without a stride the map keeps its size."""

    def __init__(
        self,
        in_width: int,
        out_width: int,
        kernel_size: int,
        norm_cfg: dict,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        padding = dilation * (kernel_size // 2)
        self.norm = build_norm(norm_cfg, in_width)
        self.conv = nn.Conv2d(
            in_width, out_width, kernel_size, stride, padding, dilation=dilation, groups=groups, bias=bias
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_width, H, W) -> (N, out_width, H / stride, W / stride), rounded up."""
        if self.with_cp and self.training and can_recompute(self.norm, self.conv, x):
            return norm_relu_conv(self.norm, self.conv, x)
        return self._in_steps(x)

    @recomputable
    def _in_steps(self, x: Tensor) -> Tensor:
        return self.conv(norm_relu(self.norm, x))


class ChannelReduction(nn.Module):
    """The r(x) of eq. 8, the shortcut of a UR unit: sums k neighbouring channels, without a convolution."""

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__()
        self.k = in_width // out_width

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_width, H, W) -> (N, out_width, H, W)."""
        return channel_sum(x, self.k)

    def extra_repr(self) -> str:
        """The k of eq. 8."""
        return f'k={self.k}'


class Bottleneck(Recomputable):
    """Pre-activation residual unit: 1x1, 3x3, 1x1, a quarter as wide inside, plus its shortcut.

    With `group_width` (FishNeXt) it is half as wide inside, and its 3x3 convolution has groups of that many channels.

    The shortcut is the identity where the width stays. Where it changes, `shortcut` says how: 'iconv', a convolution of
    its own (paper section 3: an "isolated convolution", which gradients cannot pass unchanged), or 'reduction', the
    channel reduction of eq. 8, which they can.
    """

    def __init__(
        self,
        in_width: int,
        width: int,
        norm_cfg: dict,
        *,
        shortcut: Shortcut = 'iconv',
        dilation: int = 1,
        group_width: int = 0,
    ) -> None:
        super().__init__()
        inside = width // 2 if group_width else width // 4
        groups = inside // group_width if group_width else 1
        self.squeeze = PreActConv(in_width, inside, 1, norm_cfg)
        self.conv = PreActConv(inside, inside, 3, norm_cfg, dilation=dilation, groups=groups)
        self.expand = PreActConv(inside, width, 1, norm_cfg)
        if in_width == width:
            self.shortcut = nn.Identity()
        elif shortcut == 'reduction':
            self.shortcut = ChannelReduction(in_width, width)
        else:
            self.shortcut = PreActConv(in_width, width, 1, norm_cfg)

    @recomputable
    def forward(self, x: Tensor) -> Tensor:
        """(N, in_width, H, W) -> (N, width, H, W)."""
        return self.expand(self.conv(self.squeeze(x))) + self.shortcut(x)


def bottlenecks(
    in_width: int,
    width: int,
    count: int,
    norm_cfg: dict,
    *,
    shortcut: Shortcut = 'iconv',
    dilation: int = 1,
    group_width: int = 0,
) -> nn.Sequential:
    """`count` bottlenecks in a row; the first one takes `in_width` to `width`."""
    alike = dict(dilation=dilation, group_width=group_width)
    first = Bottleneck(in_width, width, norm_cfg, shortcut=shortcut, **alike)
    rest = (Bottleneck(width, width, norm_cfg, **alike) for _ in range(count - 1))
    return nn.Sequential(first, *rest)


def refining_blocks(row: StageRow, norm_cfg: dict, shortcut: Shortcut = 'iconv') -> nn.Sequential:
    """The bottlenecks of a stage; the first one takes `in_width` to `width`."""
    alike = dict(dilation=row.dilation, group_width=row.group_width)
    return bottlenecks(row.in_width, row.width, row.blocks, norm_cfg, shortcut=shortcut, **alike)


def transfer_block(row: TransferRow, norm_cfg: dict) -> nn.Sequential:
    """The T(.) of eq. 6 and 9: bottlenecks of constant width that carry an older feature to a concatenation."""
    return bottlenecks(row.width, row.width, row.blocks, norm_cfg, group_width=row.group_width)
