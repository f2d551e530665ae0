"""The parts that turn the backbone into an ImageNet classifier. A detector does not need them."""

from collections import OrderedDict
from collections.abc import Mapping

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from fishnet_mmdet.network.arch import FishNetArch
from fishnet_mmdet.network.blocks import PreActConv, build_norm
from fishnet_mmdet.network.fishnet import KAIMING_INIT, FishNet
from fishnet_mmdet.network.ops.norm_relu import norm_relu


@MODELS.register_module()
class FishNetNeck(BaseModule):
    """What stands before the linear layer: norm-ReLU-1x1 convolution to half the width, norm-ReLU, global average.

    Args:
        in_channels: Channels of the backbone's last level (2112 as released).
        norm_cfg: Norm of both layers.
        init_cfg: Where weights come from; by default random.
    """

    def __init__(
        self,
        in_channels: int,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=KAIMING_INIT if init_cfg is None else init_cfg)
        norm = dict(type='BN') if norm_cfg is None else norm_cfg
        self.out_channels = in_channels // 2
        self.squeeze = PreActConv(in_channels, self.out_channels, 1, norm)
        self.norm = build_norm(norm, self.out_channels)

    def forward(self, levels: tuple[Tensor, ...]) -> tuple[Tensor]:
        """The last level (N, in_channels, h, w) -> ((N, in_channels / 2),), as mmpretrain's heads take it."""
        x = norm_relu(self.norm, self.squeeze(levels[-1]))
        return (x.mean(dim=(2, 3)),)


class FishNetClassifier(nn.Module):
    """Backbone, neck and linear layer: image -> logits.

    Its keys are those of an mmpretrain classifier of the same parts, which is the one that trains. This class is for
    counting, converting and comparing, without mmpretrain.

    Args:
        arch: As in `FishNet`, as are in_channels and norm_cfg.
        num_classes: Number of logits.
        in_channels: Channels of the image.
        norm_cfg: Norm of backbone and neck.
    """

    def __init__(
        self,
        arch: str | Mapping | FishNetArch = 'fishnet150',
        num_classes: int = 1000,
        in_channels: int = 3,
        norm_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        self.backbone = FishNet(arch, in_channels, out_indices=(3,), norm_cfg=norm_cfg)
        self.neck = FishNetNeck(self.backbone.out_channels[-1], norm_cfg)
        self.head = nn.Sequential(OrderedDict(fc=nn.Linear(self.neck.out_channels, num_classes)))

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, num_classes)."""
        (score,) = self.neck(self.backbone(image))
        return self.head(score)
