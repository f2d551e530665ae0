"""The initializer that loads pretrained FishNet weights, for MMEngine's registry."""

from typing import Any

from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn

from fishnet_mmdet.weights.load import load_backbone


@WEIGHT_INITIALIZERS.register_module()
class FishNetPretrained:
    """Loads pretrained weights into a FishNet backbone, strictly: every key must fit.

    MMEngine's own `Pretrained` only warns about keys that do not fit, and the training goes on with random weights.
    `FishNet.init_weights` builds this class for a `Pretrained` in its `init_cfg`.

    Args:
        checkpoint: `fishnet://NAME`, an https address, or the path of a file.
        prefix: Load only the keys that begin with this prefix, and remove it.
        map_location: Not used. Weights are read on the CPU and copied to the device of each parameter.
    """

    def __init__(self, checkpoint: str, prefix: str | None = None, map_location: Any = None) -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix

    def __call__(self, module: nn.Module) -> None:
        """Loads the weights into a backbone, in place.

        Args:
            module: A `FishNet`.

        Raises:
            WeightsError: The weights cannot be found, read or fitted; the backbone is unchanged.
        """
        module.load_state_dict(load_backbone(self.checkpoint, module.state_dict(), self.prefix))
