"""Training and testing in the memory format channels_last, by one line of a config."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from fishnet_mmdet.network.ops.memory_format import to_channels_last


@HOOKS.register_module()
class ChannelsLast(Hook):
    """Converts the whole model to channels_last, the memory format in which convolutions are fastest.

    It is faster with tensor cores, with mixed precision and on a CPU; results agree within rounding. The operations of
    mmcv support contiguous tensors only, and get these.
    """

    def before_run(self, runner: Runner) -> None:
        """Converts the model once, before training, validation or test."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        # Test-time augmentation wraps the model once more.
        model = getattr(model, 'module', model)
        to_channels_last(model, model.backbone)
