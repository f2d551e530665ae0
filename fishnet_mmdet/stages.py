"""The five parts of the fish as modules: stem, tail stage, bridge, body stage, head stage.

Widths and strides in comments are the released layout's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fishnet_mmdet.blocks import PreActConv, bottlenecks, build_norm, transfer_block


class ConvNormReLU(nn.Module):
    """3x3 convolution, norm, ReLU: the post-activation order, in the stem only."""

    def __init__(self, in_width: int, out_width: int, norm_cfg: dict, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_width, out_width, 3, stride=stride, padding=1, bias=False)
        self.norm = build_norm(norm_cfg, out_width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_width, H, W) -> (N, out_width, H / stride, W / stride), rounded up."""
        return F.relu(self.norm(self.conv(x)), inplace=True)


class Stem(nn.Sequential):
    """Three 3x3 convolutions and a max-pool: image -> 64 @ 1/4. At stride 2 without the pool, at 1 without any stride."""

    def __init__(self, in_channels: int, width: int, norm_cfg: dict, *, stride: int = 4) -> None:
        super().__init__(
            ConvNormReLU(in_channels, width // 2, norm_cfg, stride=min(stride, 2)),
            ConvNormReLU(width // 2, width // 2, norm_cfg),
            ConvNormReLU(width // 2, width, norm_cfg),
            nn.MaxPool2d(3, stride=2, padding=1) if stride == 4 else nn.Identity(),
        )


class TailStage(nn.Module):
    """One step down the tail: bottlenecks, of which the first widens (an I-conv), then 2x2 max-pool."""

    def __init__(self, in_width: int, width: int, blocks: int, norm_cfg: dict) -> None:
        super().__init__()
        self.refine = bottlenecks(in_width, width, blocks, norm_cfg)
        self.down = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_width, H, W) -> (N, width, H / 2, W / 2), rounded down."""
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
        x = F.adaptive_avg_pool2d(F.relu(self.norm(x), inplace=True), 1)
        return torch.sigmoid(self.excite(F.relu(self.squeeze(x), inplace=True)))


class Bridge(nn.Module):
    """Joins tail and body at 1/32: 512 -> 256 -> 1024 -> bottlenecks of 512, under channel attention.

    Its first bottleneck holds the last of the network's four I-convs.
    """

    def __init__(self, width: int, blocks: int, norm_cfg: dict) -> None:
        super().__init__()
        self.squeeze = PreActConv(width, width // 2, 1, norm_cfg)
        self.expand = PreActConv(width // 2, 2 * width, 1, norm_cfg, bias=True)
        self.refine = bottlenecks(2 * width, width, blocks, norm_cfg)
        self.attention = SqueezeExcitation(2 * width, width, norm_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width, H, W) -> (N, width, H, W)."""
        z = self.expand(self.squeeze(x))
        a = self.attention(z)
        return self.refine(z) * a + a


class BodyStage(nn.Module):
    """One step up the body, a UR-block (eq. 6 to 8): refine and reduce, up-sample, join the tail's feature.

    Its first bottleneck is the UR unit, whose shortcut is channel reduction: no I-conv.
    """

    def __init__(
        self,
        in_width: int,
        width: int,
        skip_width: int,
        blocks: int,
        transfer: int,
        norm_cfg: dict,
        *,
        dilation: int,
    ) -> None:
        super().__init__()
        self.refine = bottlenecks(in_width, width, blocks, norm_cfg, shortcut='reduction', dilation=dilation)
        self.transfer = transfer_block(skip_width, transfer, norm_cfg)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(N, in_width, h, w) and skip (N, skip_width, H, W) -> (N, width + skip_width, H, W).

        The trunk is up-sampled to the size of `skip`, which is x2 wherever the sides are even.
        """
        trunk = F.interpolate(self.refine(x), size=skip.shape[-2:], mode='nearest')
        return torch.cat([trunk, self.transfer(skip)], dim=1)


class HeadStage(nn.Module):
    """One step down the head, a DR-block (eq. 9): refine, 2x2 max-pool, join the body's feature.

    All widths stay, so every shortcut is the identity: no I-conv.
    """

    def __init__(self, width: int, skip_width: int, blocks: int, transfer: int, norm_cfg: dict) -> None:
        super().__init__()
        self.refine = bottlenecks(width, width, blocks, norm_cfg)
        self.down = nn.MaxPool2d(2)
        self.transfer = transfer_block(skip_width, transfer, norm_cfg)

    def forward(self, x: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """(N, width, H, W) and skip (N, skip_width, H / 2, W / 2), sides rounded down.

        Returns:
            The refined feature before down-sampling, (N, width, H, W), which is what a neck gets, and
            the concatenation that the next stage takes, (N, width + skip_width, H / 2, W / 2).
        """
        refined = self.refine(x)
        return refined, torch.cat([self.down(refined), self.transfer(skip)], dim=1)
