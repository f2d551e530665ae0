"""The initializer with which every bottleneck starts as its shortcut, for MMEngine's registry."""

from mmengine.model import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn

from fishnet_mmdet.network.blocks import Bottleneck


@WEIGHT_INITIALIZERS.register_module()
class ZeroResiduals:
    """Sets the last convolution of each bottleneck to zero, so that it starts as its shortcut.

    The counterpart of `zero_init_residual=True`, the default of MMDetection's ResNet. Without it, every residual adds
    its variance to that of the shortcut: the first gradients of FishNet-150 are five to eight times as large.
    """

    def __call__(self, module: nn.Module) -> None:
        """Sets the weights, in place.

        Args:
            module: A `FishNet`, or any module that holds bottlenecks.
        """
        for block in module.modules():
            if isinstance(block, Bottleneck):
                nn.init.zeros_(block.expand.conv.weight)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'{type(self).__name__}: the last convolution of each bottleneck')
