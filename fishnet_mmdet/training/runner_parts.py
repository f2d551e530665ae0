"""The parts of MMEngine's runner without what may be around them."""

from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch import nn


def bare_model(model: nn.Module) -> nn.Module:
    """The model itself, without the wrappers of several processes and of test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def optim_wrappers(runner: Runner) -> list[OptimWrapper]:
    """The optimizer wrappers of a runner, one or several; none where they are not built yet."""
    wrapper = runner.optim_wrapper
    wrappers = list(wrapper.values()) if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return [each for each in wrappers if isinstance(each, OptimWrapper)]
