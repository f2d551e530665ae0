"""The five parts of the fish as modules: stem, tail stage, bridge, body stage, head stage.

A stage is built from its `StageRow`. Widths and strides in docstrings are the released architecture's.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fishnet_mmdet.network.blocks import PreActConv, bottlenecks, build_norm, refining_blocks, transfer_block
from fishnet_mmdet.network.ops.norm_relu import norm_relu
from fishnet_mmdet.network.ops.pooling import LeanMaxPool2d
from fishnet_mmdet.network.ops.recompute import Recomputable, recomputable
from fishnet_mmdet.network.rows import StageRow


class ConvNormReLU(Recomputable):
    """Convolution, norm, ReLU: the post-activation order, in the stem only."""

    def __init__(self, in_width: int, out_width: int, norm_cfg: dict, *, stride: int = 1, kernel_size: int = 3) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.conv = nn.Conv2d(in_width, out_width, kernel_size, stride, padding, bias=False)
        self.norm = build_norm(norm_cfg, out_width)

    @recomputable
    def forward(self, x: Tensor) -> Tensor:
        """(N, in_width, H, W) -> (N, out_width, H / stride, W / stride), rounded up."""
        return norm_relu(self.norm, self.conv(x))


class Stem(Recomputable, nn.Sequential):
    """Image -> 64 @ 1/4, as released by three 3x3 convolutions and a max-pool.

    At stride 2 the pool is left out, at stride 1 the stride of the first convolution too. Other kinds: one 7x7
    convolution, or one 3x3 and two residual blocks (the paper names both and gives no details).
    """

    def __init__(self, in_channels: int, width: int, norm_cfg: dict, *, kind: str = 'conv3x3', stride: int = 4) -> None:
        first = dict(norm_cfg=norm_cfg, stride=min(stride, 2))
        if kind == 'conv7x7':
            layers = [ConvNormReLU(in_channels, width, kernel_size=7, **first)]
        elif kind == 'residual':
            layers = [ConvNormReLU(in_channels, width // 2, **first)]
            layers += bottlenecks(width // 2, width, 2, norm_cfg)
        else:
            layers = [
                ConvNormReLU(in_channels, width // 2, **first),
                ConvNormReLU(width // 2, width // 2, norm_cfg),
                ConvNormReLU(width // 2, width, norm_cfg),
            ]
        pool = LeanMaxPool2d(3, stride=2, padding=1) if stride == 4 else nn.Identity()
        super().__init__(*layers, pool)

    @recomputable
    def forward(self, image: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, width, H / stride, W / stride), rounded up."""
        return super().forward(image)


def down_sampling(kind: str, width: int, norm_cfg: dict) -> nn.Module:
    """Halves the sides and rounds up: (N, width, H, W) -> (N, width, ceil(H / 2), ceil(W / 2)).

    The strided convolution is 1x1: the released network then grows by 3.7 million parameters, the paper's by 3.8. It
    stands on the trunk: an I-conv.
    """
    if kind == 'conv':
        return PreActConv(width, width, 1, norm_cfg, stride=2)
    return {
        'max2': LeanMaxPool2d(2, 2, ceil_mode=True),
        'max3': LeanMaxPool2d(3, 2, padding=1),
        # At the border, an incomplete window gives the mean of the pixels inside.
        # `count_include_pad` changes nothing without padding, but onnxruntime 1.23 gets this mean wrong with it.
        'avg2': nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False),
    }[kind]


class TailStage(Recomputable):
    """One step down the tail: bottlenecks, of which the first widens (an I-conv), then down-sampling."""

    def __init__(self, row: StageRow, norm_cfg: dict, down: str) -> None:
        super().__init__()
        self.refine = refining_blocks(row, norm_cfg)
        self.down = down_sampling(down, row.width, norm_cfg)

    @recomputable
    def forward(self, x: Tensor) -> Tensor:
        """(N, in_width, H, W) -> (N, width, H / 2, W / 2), rounded up."""
        return self.down(self.refine(x))


class SqueezeExcitation(nn.Module):
    """The bridge's channel attention: one weight in (0, 1) per channel, from the whole map."""

    def __init__(self, in_width: int, width: int, norm_cfg: dict) -> None:
        super().__init__()
        self.norm = build_norm(norm_cfg, in_width)
        self.squeeze = nn.Conv2d(in_width, width // 16, 1)
        self.excite = nn.Conv2d(width // 16, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_width, H, W) -> (N, width, 1, 1)."""
        x = F.adaptive_avg_pool2d(norm_relu(self.norm, x), 1)
        # Not in place: a full backward hook of the convolution would forbid it.
        return torch.sigmoid(self.excite(F.relu(self.squeeze(x))))


class Bridge(Recomputable):
    """Joins tail and body at 1/32: 512 -> 256 -> 1024 -> bottlenecks of 512, under channel attention.

    Its first bottleneck holds the last of the network's four I-convs.
    """

    def __init__(self, row: StageRow, norm_cfg: dict, attention: str) -> None:
        super().__init__()
        width = row.width
        self.squeeze = PreActConv(width, width // 2, 1, norm_cfg)
        self.expand = PreActConv(width // 2, 2 * width, 1, norm_cfg, bias=True)
        self.refine = refining_blocks(replace(row, in_width=2 * width), norm_cfg)
        self.attention = SqueezeExcitation(2 * width, width, norm_cfg) if attention == 'se' else None

    @recomputable
    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) -> (N, width, H, W)."""
        z = self.expand(self.squeeze(x))
        if self.attention is None:
            return self.refine(z)
        a = self.attention(z)
        return self.refine(z) * a + a


class BodyStage(Recomputable):
    """One step up the body, a UR-block (eq. 6 to 8): refine and reduce, up-sample, join the tail's feature.

    Its first bottleneck is the UR unit, whose shortcut is channel reduction, or the identity where the width stays (as
    in body stage 1): no I-conv.
    """

    def __init__(self, row: StageRow, norm_cfg: dict, up: str) -> None:
        super().__init__()
        self.up = up
        self.refine = refining_blocks(row, norm_cfg, shortcut='reduction')
        self.transfer = transfer_block(row.transfer, norm_cfg)

    @recomputable
    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(N, in_width, h, w) and skip (N, skip_width, H, W) -> (N, width + skip_width, H, W).

        The trunk is up-sampled to the size of `skip`, which is x2 wherever the sides are even.
        """
        trunk = F.interpolate(self.refine(x), size=skip.shape[-2:], mode=self.up)
        return torch.cat([trunk, self.transfer(skip)], dim=1)


class HeadStage(Recomputable):
    """One step down the head, a DR-block (eq. 9): refine, down-sample, join the body's feature.

    All widths stay, so every shortcut is the identity: no I-conv.
    """

    def __init__(self, row: StageRow, norm_cfg: dict, down: str) -> None:
        super().__init__()
        self.refine = refining_blocks(row, norm_cfg)
        self.down = down_sampling(down, row.width, norm_cfg)
        self.transfer = transfer_block(row.transfer, norm_cfg)

    @recomputable
    def forward(self, x: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """(N, width, H, W) and skip (N, skip_width, H / 2, W / 2), rounded up.

        Returns:
            The refined feature before down-sampling, (N, width, H, W), which is what a neck gets, and the concatenation
            that the next stage takes, (N, width + skip_width, H / 2, W / 2).
        """
        refined = self.refine(x)
        return refined, torch.cat([self.down(refined), self.transfer(skip)], dim=1)


class Tail(nn.ModuleList):
    """All tail stages, one after the other."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """Goes down the tail.

        Args:
            x: The stem's feature, (N, 64, H / 4, W / 4).

        Returns:
            That feature and the one of every tail stage, finest first.
        """
        features = [x]
        for stage in self:
            features.append(stage(features[-1]))
        return features


class Body(nn.ModuleList):
    """All body stages, one after the other, each joined by the tail's feature of its resolution."""

    def forward(self, x: Tensor, tail: list[Tensor]) -> list[Tensor]:
        """Goes up the body.

        Args:
            x: The bridge's feature, (N, 512, H / 32, W / 32).
            tail: Features of stem and tail, finest first, without the last one, which entered the bridge.

        Returns:
            The bridge's feature and that of every body stage, coarsest first.
        """
        features = [x]
        for stage, skip in zip(self, reversed(tail), strict=True):
            features.append(stage(features[-1], skip=skip))
        return features


class Head(nn.ModuleList):
    """All head stages, one after the other, each joined by the body's feature of its resolution."""

    def forward(self, body: list[Tensor]) -> list[Tensor]:
        """Goes down the head.

        Args:
            body: What `Body` returns, coarsest first.

        Returns:
            What a neck gets, finest first: the refined feature of every head stage, and the last concatenation.
        """
        *skips, x = body
        levels = []
        for stage, skip in zip(self, reversed(skips), strict=True):
            refined, x = stage(x, skip=skip)
            levels.append(refined)
        return [*levels, x]


class Levels(nn.ModuleList):
    """What a neck gets: the features of the head as they are, or with a norm and a ReLU behind each.

    The features are sums of residual branches with no norm behind them, as in every pre-activation network.
    """

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Each (N, width, H, W) -> (N, width, H, W)."""
        return [norm_relu(norm, x) for norm, x in zip(self, features, strict=True)] if len(self) else features
