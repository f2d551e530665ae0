"""Training and testing in the memory format channels_last, by one line of a config."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.network.ops.memory_format import models_with_backbone, to_channels_last


@HOOKS.register_module()
class ChannelsLast(Hook):
    """Converts the whole model to channels_last, the memory format in which convolutions are fastest.

    It is faster with tensor cores, with mixed precision and on a CPU; results agree within rounding. The operations of
    mmcv support contiguous tensors only, and get these. In a wrapper of several models, such as mmdet's SoftTeacher,
    each is converted.

    Raises:
        ConfigError: The model has no backbone.
    """

    def before_run(self, runner: Runner) -> None:
        """Converts the model once, before training, validation or test."""
        models = models_with_backbone(runner.model)
        if not models:
            kind = type(runner.model).__name__
            raise ConfigError(f'ChannelsLast finds no backbone in {kind}: remove the hook from custom_hooks')
        for model in models:
            to_channels_last(model, model.backbone)
