"""One name for what protects a run: `default_hooks = dict(safety=dict(type='SafetyHooks'))`."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from fishnet_mmdet.base.errors import ConfigError

SAFETY_HOOKS = (
    'FixedNormGuard',
    'ScratchNormGuard',
    'NonFiniteGuard',
    'ClassCountGuard',
    'LostRankGuard',
    'PlainCheckpoints',
    # Without it, each rank would validate with its own BN statistics.
    'SyncBuffersHook',
    # Each report writes its table where its figures are measured, and does nothing elsewhere.
    'APReport',
    'ClassAPReport',
    'AccuracyReport',
    'MIoUReport',
    'PQReport',
)
"""The hooks that `SafetyHooks` adds."""


@HOOKS.register_module()
class SafetyHooks(Hook):
    """Adds every hook of `SAFETY_HOOKS` to the run, each at its own priority.

    As an entry of `default_hooks`, it leaves the `custom_hooks` of a base config as they are. A hook that the config
    lists itself, with arguments of its own for example, is not added a second time. A config may list several
    `SafetyHooks`: what one of them leaves out, the others leave out too.

    Args:
        without: Names of hooks to leave out.

    Raises:
        ConfigError: `without` is not a sequence of names of `SAFETY_HOOKS`.
    """

    # The first hook of all. MMEngine calls `before_run` hook by hook, so those that are added behind it get their turn.
    priority = 'HIGHEST'

    def __init__(self, without: Sequence[str] = ()) -> None:
        if isinstance(without, str) or (unknown := set(without) - set(SAFETY_HOOKS)):
            wrong = repr(without) if isinstance(without, str) else ', '.join(sorted(unknown))
            raise ConfigError(
                f'SafetyHooks: without = {wrong} must be a list of names out of {", ".join(SAFETY_HOOKS)}'
            )
        self.without = tuple(without)

    def before_run(self, runner: Runner) -> None:
        """Adds the hooks, before weights are loaded."""
        there = {type(hook).__name__ for hook in runner.hooks}
        left_out = {name for hook in runner.hooks if isinstance(hook, SafetyHooks) for name in hook.without}
        added = [name for name in SAFETY_HOOKS if name not in there | left_out]
        for name in added:
            runner.register_hook(dict(type=name))
        if added:
            runner.logger.info(f'SafetyHooks adds {", ".join(added)}')
