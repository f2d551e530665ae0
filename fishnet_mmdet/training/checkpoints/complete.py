"""A checkpoint has all weights of the model: in a test, and in a resume, which then reads no pretrained files."""

from collections.abc import Mapping

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModule, PretrainedInit
from mmengine.runner import Runner, get_state_dict
from torch import Tensor, nn

from fishnet_mmdet.training.runner_parts import bare_model
from fishnet_mmdet.weights.fitting import fit


class StrictLoading(Hook):
    """Refuses a checkpoint whose keys are not exactly the model's; MMEngine would warn and test a half-random model.

    `fishnet-mmdet test` registers it. Fine-tuning does without it, because heads may differ.

    Raises:
        WeightsError: With a table of what is missing, unexpected or mis-shaped.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compares keys and shapes before anything is copied."""
        model = bare_model(runner.model)
        fit(checkpoint['state_dict'], model.state_dict(), f'the checkpoint does not fit the {type(model).__name__}')


class CompleteResume(Hook):
    """Skips pretrained files on a resume, and refuses a checkpoint that does not have all weights of the model.

    A module with `init_cfg=dict(type='Pretrained', ...)` is not initialised if the checkpoint has all its weights. Only
    modules of the model are concerned, at any depth. A teacher that is not registered as a module, and whose weights
    are therefore not in the checkpoint, still loads its own file. If the checkpoint lacks weights of a module, such as
    those of a frozen part that another hook removed, the module still loads its file.

    Args:
        weights: The shapes of the checkpoint's weights, by key.

    Raises:
        WeightsError: The model has weights that neither the checkpoint nor a pretrained file provides.
    """

    def __init__(self, weights: Mapping[str, torch.Size]) -> None:
        self._weights = weights
        self._from_files: set[str] = set()

    def before_run(self, runner: Runner) -> None:
        """Marks the modules whose pretrained file is not needed; MMEngine initialises the model after this."""
        state = get_state_dict(runner.model, keep_vars=True)
        keys = {id(tensor): key for key, tensor in state.items() if isinstance(tensor, Tensor)}
        lacking = {key for key, tensor in state.items() if self._weights.get(key) != getattr(tensor, 'shape', None)}
        for module in runner.model.modules():
            if _is_pretrained(module):
                own = _keys_of(module, keys)
                if own & lacking:
                    self._from_files |= own
                else:
                    module.is_init = True

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Checks keys and shapes before anything is copied."""
        target = {
            key: value
            for key, value in get_state_dict(runner.model).items()
            if key not in self._from_files and isinstance(value, Tensor)
        }
        # Keys that the model does not have are ignored, as in MMEngine.
        state = {key: value for key, value in checkpoint['state_dict'].items() if key in target}
        fit(
            state,
            target,
            'the checkpoint lacks weights of the model, which would stay random (--cfg-options strict_resume=False '
            'resumes all the same)',
        )


def _is_pretrained(module: nn.Module) -> bool:
    init = getattr(module, 'init_cfg', None) if isinstance(module, BaseModule) else None
    configs = [init] if isinstance(init, Mapping) else init or []
    # FishNetPretrained is an initializer of this package.
    return any(config.get('type') in ('Pretrained', 'FishNetPretrained', PretrainedInit) for config in configs)


def _keys_of(module: nn.Module, keys: Mapping[int, str]) -> set[str]:
    return {keys[id(tensor)] for tensor in (*module.parameters(), *module.buffers()) if id(tensor) in keys}
