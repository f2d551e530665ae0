"""Training and testing in channels_last, by one line of a config."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from fishnet_mmdet.network.ops.memory_format import to_channels_last


@HOOKS.register_module()
class ChannelsLast(Hook):
    """Lays the whole model out in channels_last (channels beside each other), which convolutions like best.

    With tensor cores, mixed precision or a CPU it is faster; results agree within rounding. mmcv's own operations, which
    know contiguous maps only, get these.
    """

    def before_run(self, runner: Runner) -> None:
        """Turns the model over once, before training, validation or test."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model = getattr(model, 'module', model)  # test-time augmentation wraps once more
        to_channels_last(model, model.backbone)
