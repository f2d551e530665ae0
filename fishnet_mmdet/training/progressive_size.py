"""Smaller images at the beginning of the training of a classifier, which cost less."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.functional import interpolate

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.network.ops.memory_format import models_with_backbone


@HOOKS.register_module()
class ProgressiveSize(Hook):
    """Trains a classifier on smaller images first; validation and test always get whole images.

    The training images of a batch are resized in front of the backbone (bilinear, with antialiasing). The scale depends
    only on the iteration, so a resumed run continues with the same one.

    Args:
        scales: Pairs of a start, as a fraction of the whole run, and the scale of the sides from there on:
            `[(0, 0.5), (0.3, 0.75), (0.7, 1)]`.

    Raises:
        ConfigError: Pairs that do not begin at 0, do not increase, or have a scale that is not in (0, 1]; or a model
            that is not a classifier, whose boxes or masks would not be resized.
    """

    def __init__(self, scales: Sequence[tuple[float, float]]) -> None:
        pairs = [tuple(pair) for pair in scales]
        starts = [pair[0] for pair in pairs]
        if not pairs or starts[0] != 0 or starts != sorted(set(starts)) or starts[-1] >= 1:
            raise ConfigError(f'ProgressiveSize: the starts of scales = {pairs} must increase from 0, and stay below 1')
        if wrong := [scale for _, scale in pairs if not 0 < scale <= 1]:
            raise ConfigError(f'ProgressiveSize: the scale {wrong[0]} must be above 0 and at most 1')
        self.scales = pairs
        self.scale = pairs[0][1]
        self._handles = []

    def before_train(self, runner: Runner) -> None:
        """Puts the resizing in front of the backbone."""
        models = models_with_backbone(runner.model)
        if not models or any(getattr(model, 'head', None) is None for model in models):
            kind = type(runner.model).__name__
            raise ConfigError(f'ProgressiveSize is for classifiers: remove it from the hooks of this {kind}')
        self._handles = [model.backbone.register_forward_pre_hook(self._resize) for model in models]

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: object = None) -> None:
        """Chooses the scale of this iteration."""
        scale = [scale for start, scale in self.scales if runner.iter >= start * runner.max_iters][-1]
        if scale != self.scale or runner.iter == 0:
            runner.logger.info(f'ProgressiveSize: images are scaled by {scale:g} from iteration {runner.iter + 1} on')
        self.scale = scale

    def after_train(self, runner: Runner) -> None:
        """Takes it away again."""
        for handle in self._handles:
            handle.remove()

    def _resize(self, backbone: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        image, *rest = inputs
        if not backbone.training or self.scale == 1:
            return inputs
        size = [max(1, round(side * self.scale)) for side in image.shape[-2:]]
        return interpolate(image, size=size, mode='bilinear', antialias=True), *rest
