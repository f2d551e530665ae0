"""Which settings of schedules and optimizers a resume takes from its checkpoint although the config has others."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from torch import Tensor

PROGRESS = {'last_step', 'verbose', 'base_values', 'best', 'num_bad_epochs', 'cooldown_counter', 'rule_worse'}
"""What a scheduler's state holds beside its settings."""

NO_SETTING = {'params', 'param_names', 'foreach', 'fused', 'capturable', 'differentiable', 'decoupled_weight_decay'}
"""What a group of an optimizer holds beside its settings."""

FOREVER = 1_000_000_000
"""MMEngine's `end` of a scheduler without an end."""


def kept_settings(runner: Runner, checkpoint: Mapping) -> list[str]:
    """Compares the settings that a resume takes from a checkpoint with those of the config.

    Args:
        runner: The runner, with optimizers and schedulers as the config has them.
        checkpoint: The checkpoint, before its states are loaded.

    Returns:
        One line for each difference, with the checkpoint's value, which is kept, and the config's.
    """
    schedulers = [
        line
        for name, old, new in _pairs(checkpoint.get('param_schedulers'), runner.param_schedulers)
        for line in _of_schedulers(name, old, new)
    ]
    wrapper = runner.optim_wrapper
    wrappers = dict(wrapper.items()) if isinstance(wrapper, OptimWrapperDict) else wrapper
    optimizers = [
        line
        for name, old, new in _pairs(checkpoint.get('optimizer'), wrappers, leaf='param_groups')
        if hasattr(new, 'param_groups') and isinstance(old, Mapping)
        for line in _of_groups(f'{name}optim_wrapper.optimizer', old.get('param_groups', ()), new.param_groups)
    ]
    return schedulers + optimizers


def _pairs(old: Any, new: Any, leaf: str = '') -> Iterator[tuple[str, Any, Any]]:
    """Yields what several optimizers have by name; one has it without a name."""
    if isinstance(new, Mapping) and isinstance(old, Mapping) and leaf not in old:
        for name in new:
            yield f'{name}: ', old.get(name), new[name]
    elif old is not None and new is not None:
        yield '', old, new


def _of_schedulers(prefix: str, states: Any, schedulers: Any) -> Iterator[str]:
    if not isinstance(states, Sequence) or not isinstance(schedulers, Sequence):
        return
    for index, (state, scheduler) in enumerate(zip_longest(states, schedulers)):
        if scheduler is not None and not hasattr(scheduler, 'state_dict'):
            # A config: not built, so nothing is loaded into it.
            continue
        old = {} if state is None else _settings(state)
        new = {} if scheduler is None else _settings(scheduler.state_dict())
        place = f'{prefix}param_scheduler[{index}]'
        if not new:
            yield f'{place} is not in the config; the schedule of the checkpoint has {_listed(old)}'
        elif not old:
            yield f'{place} ({type(scheduler).__name__}) is not in the checkpoint: its steps count from this resume'
        elif changed := [key for key in {**old, **new} if old.get(key) != new.get(key)]:
            unit = '' if old.get('by_epoch') and new.get('by_epoch') else ', in iterations'
            before = _listed({key: old[key] for key in changed if key in old})
            now = _listed({key: new[key] for key in changed if key in new})
            yield f'{place} ({type(scheduler).__name__}{unit}): {before} is kept, not {now}'


def _settings(state: Mapping) -> dict[str, Any]:
    """The settings in a scheduler's state, in a form that can be compared and printed."""
    settings = {}
    for key, value in state.items():
        if key in PROGRESS or key.startswith('_') or callable(value):
            continue
        if isinstance(value, Mapping):
            # MMEngine counts milestones.
            value = sorted(each for each, count in value.items() for _ in range(count))
        value = _plain(value)
        settings[key] = 'none' if key == 'end' and value == FOREVER else value
    # Functions have no plain form.
    return {key: value for key, value in settings.items() if key != 'anneal_func'}


def _of_groups(place: str, old: Sequence[Mapping], new: Sequence[Mapping]) -> Iterator[str]:
    """Yields each difference of groups of parameters once, however many groups have it."""
    seen: dict[str, int] = {}
    for before, now in zip(old, new, strict=False):
        scheduled = {key.removeprefix('initial_') for key in (*before, *now) if key.startswith('initial_')}
        for key in before.keys() & now.keys() - NO_SETTING - scheduled - {'max_lr', 'min_lr'}:
            kept, own = _plain(before[key]), _plain(now[key])
            if kept != own:
                line = f'{place}.{key.removeprefix("initial_")}: {kept!r} is kept, not {own!r}'
                seen[line] = seen.get(line, 0) + 1
    for line, count in sorted(seen.items()):
        yield line if len(new) == 1 else f'{line} (of {count} groups of parameters)'


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


def _listed(settings: Mapping[str, Any]) -> str:
    return ', '.join(f'{key}={value!r}' for key, value in settings.items()) or 'a schedule without these settings'
