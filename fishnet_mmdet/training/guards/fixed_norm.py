"""The guard against BatchNorm layers that are fixed at statistics nobody learnt."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

FIXED_NORM = (
    '{count} of {fixed} fixed BatchNorm layers still hold their initial statistics (mean 0, variance 1), '
    'the first of them {first}: no weights were loaded into them. A FishNet of random weights with fixed BN '
    'explodes (logits in the ten thousands at depth 150) and cannot learn. Either load weights: '
    "model.backbone.init_cfg=dict(type='Pretrained', checkpoint='FILE') with a file whose keys fit, or load_from; "
    'or train from scratch with live BN: norm_cfg.requires_grad=True, norm_eval=False and frozen_stages=-1 in '
    'model.backbone, as configs/mask_rcnn_fishnet150_fpn_scratch.py does.'
)


@HOOKS.register_module()
class FixedNormGuard(Hook):
    """Refuses to train BatchNorm layers that are fixed at statistics nobody ever learnt.

    It goes by what the layers hold, not by how they were filled, so it also tells a checkpoint whose keys did not fit
    and which MMEngine skipped over with a warning.

    Raises:
        RuntimeError: When training starts.
    """

    def before_train(self, runner: Runner) -> None:
        """Looks at every fixed BatchNorm of the model, its weights loaded by now."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.train()
        fixed = {name: layer for name, layer in model.named_modules() if is_fixed_norm(layer)}
        untouched = [name for name, layer in fixed.items() if is_initial(layer)]
        if untouched:
            raise RuntimeError(FIXED_NORM.format(count=len(untouched), fixed=len(fixed), first=untouched[0]))


def is_fixed_norm(layer: nn.Module) -> bool:
    """Whether a layer is a BatchNorm that training leaves as it is: in eval mode, without a gradient."""
    return (
        isinstance(layer, _BatchNorm)
        and layer.running_mean is not None
        and not layer.training
        and not any(p.requires_grad for p in layer.parameters())
    )


def is_initial(layer: _BatchNorm) -> bool:
    """Whether a BatchNorm holds all that it was built with; no trained layer has these exact numbers.

    Statistics alone do not tell: converted Caffe weights have theirs folded into scale and shift, and 0 and 1 in their place.
    """
    if layer.running_mean.any() or (layer.running_var != 1).any():
        return False
    return not layer.affine or not (layer.bias.any() or (layer.weight != 1).any())
