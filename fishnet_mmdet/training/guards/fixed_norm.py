"""Stops a run whose fixed BatchNorm layers hold initial statistics."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.nn.modules.batchnorm import _BatchNorm

from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.network.ops.norm_relu import is_fixed
from fishnet_mmdet.training.runner_parts import bare_model

FIXED_NORM = (
    '{count} of {fixed} fixed BatchNorm layers still hold their initial statistics (mean 0, variance 1), '
    'the first of them {first}: no weights were loaded into them. BN that is fixed at these values normalises '
    'nothing. Either load weights: '
    "model.backbone.init_cfg=dict(type='Pretrained', checkpoint='FILE') with a file whose keys fit, or load_from. "
    'Or train from random weights: norm_cfg.requires_grad=True, norm_eval=False, frozen_stages=-1 and no init_cfg in '
    "model.backbone, and norm_cfg=dict(type='BN') in model.neck; the config mask_rcnn_fishnet150_fpn_scratch is an "
    "example. To train all the same, switch the guard off: default_hooks=dict(safety=dict(type='SafetyHooks', "
    "without=['FixedNormGuard'])) in the config."
)


class FixedNormError(UserError, RuntimeError):
    """Fixed BatchNorm layers hold their initial statistics; the message names the first layer and the fixes."""


@HOOKS.register_module()
class FixedNormGuard(Hook):
    """Refuses to train a model whose fixed BatchNorm layers hold their initial statistics.

    It looks at the values of the layers, not at how they were loaded. So it also notices a checkpoint whose keys did
    not fit and which MMEngine ignored with a warning.

    Raises:
        FixedNormError: When training starts.
    """

    def before_train(self, runner: Runner) -> None:
        """Checks every fixed BatchNorm of the model, after the weights were loaded."""
        model = bare_model(runner.model)
        model.train()
        fixed = {name: layer for name, layer in model.named_modules() if is_fixed(layer)}
        untouched = [name for name, layer in fixed.items() if is_initial(layer)]
        if untouched:
            raise FixedNormError(FIXED_NORM.format(count=len(untouched), fixed=len(fixed), first=untouched[0]))


def is_initial(layer: _BatchNorm) -> bool:
    """Returns whether a BatchNorm holds exactly its initial values, which no trained layer does.

    The statistics alone are not enough: converted Caffe weights have them folded into scale and shift, and hold mean 0
    and variance 1.
    """
    if layer.running_mean.any() or (layer.running_var != 1).any():
        return False
    return not layer.affine or not (layer.bias.any() or (layer.weight != 1).any())
