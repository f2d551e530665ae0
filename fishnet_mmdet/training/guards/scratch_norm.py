"""Warns of a FishNet with random weights in front of a neck without norms."""

from collections.abc import Iterator

from mmcv.cnn import is_norm
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from fishnet_mmdet.network.fishnet import FishNet
from fishnet_mmdet.training.runner_parts import bare_model

SCRATCH_NORM = (
    'FishNet has random weights, and {neck} has no norm: training may diverge where that of a ResNet does not. '
    "Set {neck}.norm_cfg=dict(type='BN')"
)
OTHER_NECK = (
    ". For a neck that takes none, set arch=dict(base=..., levels='norm_relu') in the backbone, which helps less"
)


@HOOKS.register_module()
class ScratchNormGuard(Hook):
    """Warns, before the first iteration, if a FishNet with random weights feeds a neck in which there is no norm.

    It looks at the values of the norms, not at how they were loaded: weights that were loaded by any way pass.
    """

    def before_train(self, runner: Runner) -> None:
        """Looks at every FishNet of the model, after the weights were loaded."""
        model = bare_model(runner.model)
        for message in scratch_warnings(model):
            runner.logger.warning(message)


def scratch_warnings(model: nn.Module) -> Iterator[str]:
    """Yields one line for each FishNet with random weights in front of a neck without norms; names the key to set."""
    for path, part in model.named_modules():
        backbone, neck = getattr(part, 'backbone', None), getattr(part, 'neck', None)
        if not isinstance(backbone, FishNet) or not isinstance(neck, nn.Module):
            continue
        # A global pooling has nothing to normalise.
        has_weights = any(True for _ in neck.parameters())
        if has_weights and not any(map(is_norm, neck.modules())) and _is_random(backbone):
            text = SCRATCH_NORM if backbone.arch.levels == 'norm_relu' else SCRATCH_NORM + OTHER_NECK
            yield text.format(neck='.'.join(filter(None, ('model', path, 'neck'))))


def _is_random(backbone: FishNet) -> bool:
    """Whether every norm still has the scale 1 and the shift 0 that it starts with."""
    norms = [layer for layer in backbone.modules() if is_norm(layer) and layer.weight is not None]
    return all(bool((layer.weight == 1).all()) and not layer.bias.any() for layer in norms)
