"""What a ported config imports, and what keeps its runs safe: guards, checkpoints, a loop that continues exactly."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

from fishnet_mmdet.base.config_nodes import name_of
from fishnet_mmdet.project.port.edits import Edit

EPOCHS, ITERATIONS = 'ResumableEpochLoop', 'ResumableIterLoop'

LOOPS = {'EpochBasedTrainLoop': EPOCHS, 'IterBasedTrainLoop': ITERATIONS}
"""MMEngine's loops, and those that stand in for them."""

SAMPLERS = {'DefaultSampler', 'InfiniteSampler'}
"""Samplers whose order depends only on seed and epoch. With others, the loop of the config stays."""


def safety_edits(config: Config) -> Iterator[Edit]:
    """The edits of `custom_imports`, `default_hooks` and `train_cfg`.

    What the config has already, and loops, hooks and samplers other than MMEngine's, stay.
    """
    custom = config.get('custom_imports') or {}
    names = [custom['imports']] if isinstance(custom.get('imports'), str) else list(custom.get('imports', []))
    if 'fishnet_mmdet' not in names:
        value = dict(imports=[*names, 'fishnet_mmdet'], allow_failed_imports=custom.get('allow_failed_imports', False))
        yield Edit(('custom_imports',), value)
    hooks = config.get('default_hooks', {})
    if not any(hook and name_of(hook) == 'SafetyHooks' for hook in hooks.values()):
        yield Edit(('default_hooks', 'safety'), dict(type='SafetyHooks'), 'guards, plain checkpoints and reports')
    if name_of(hooks.get('checkpoint') or {}) == 'CheckpointHook':
        yield Edit(('default_hooks', 'checkpoint', 'type'), 'DurableCheckpoints', 'Ctrl-C saves')
    yield from _loop(config.get('train_cfg') or {}, config.get('train_dataloader') or {})


def _loop(train: Mapping[str, Any], loader: Mapping[str, Any]) -> Iterator[Edit]:
    if name_of(loader.get('sampler') or {}) not in SAMPLERS:
        return
    why = '--resume continues exactly'
    if 'by_epoch' in train:
        # MMEngine takes `by_epoch` or `type`, not both.
        rest = {key: value for key, value in train.items() if key not in ('by_epoch', 'type')}
        yield Edit(('train_cfg',), dict(type=EPOCHS if train['by_epoch'] else ITERATIONS, **rest), why)
    elif loop := LOOPS.get(name_of(train)):
        yield Edit(('train_cfg', 'type'), loop, why)
