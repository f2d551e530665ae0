"""Guards that stop a training which cannot come to any good, with the reason and the mend."""

import math

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
    """Whether a BatchNorm holds the statistics it was built with; no trained layer has these exact numbers."""
    return not bool(layer.running_mean.any()) and bool((layer.running_var == 1).all())


@HOOKS.register_module()
class NonFiniteLossGuard(Hook):
    """Stops at the first loss that is NaN or infinite, before more iterations are spent on broken weights.

    Raises:
        FloatingPointError: Names the iteration, the learning rate, each loss, and the images of the batch.
    """

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Looks at every loss of the iteration (the log copies them off the device anyhow)."""
        losses = {k: float(v.detach()) for k, v in (outputs or {}).items() if 'loss' in k}
        if all(math.isfinite(value) for value in losses.values()):
            return
        listed = ', '.join(f'{name} = {value:g}' for name, value in losses.items())
        rate = next(iter(runner.optim_wrapper.get_lr().values()))[0]
        samples = (data_batch or {}).get('data_samples', [])
        images = ', '.join(str(getattr(sample, 'img_path', '?')) for sample in samples)
        raise FloatingPointError(
            f'non-finite loss in epoch {runner.epoch + 1}, iteration {runner.iter + 1}, at learning rate {rate:g}: '
            f'{listed}. Images: {images or "unknown"}. The checkpoints written so far are intact. Lower '
            'optim_wrapper.optimizer.lr (or --auto-scale-lr), clip gradients for longer, or look at these images'
        )
