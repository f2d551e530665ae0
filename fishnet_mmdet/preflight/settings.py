"""Settings that a run would notice only at its first validation or checkpoint, or never, though the config decides."""

import difflib
import string
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec

from mmengine.config import Config
from mmengine.hooks import CheckpointHook

from fishnet_mmdet.base.config_nodes import arguments_not_taken, mappings, metric_class, model_class, name_of
from fishnet_mmdet.preflight.coco import CocoData
from fishnet_mmdet.preflight.figures import Figures, figures_of
from fishnet_mmdet.preflight.findings import Finding
from fishnet_mmdet.preflight.schedules import Length, check_schedules, length_of

BACKENDS = {
    'WandbVisBackend': ('wandb',), 'TensorboardVisBackend': ('tensorboardX', 'tensorboard'),
    'MLflowVisBackend': ('mlflow',), 'ClearMLVisBackend': ('clearml',), 'NeptuneVisBackend': ('neptune',),
    'DVCLiveVisBackend': ('dvclive',), 'AimVisBackend': ('aim',),
}  # fmt: skip
"""Packages of MMEngine's visualization backends; one of each is enough."""

PARTS = {
    'train': ('train_dataloader', 'train_cfg', 'optim_wrapper'),
    'val': ('val_dataloader', 'val_cfg', 'val_evaluator'),
    'test': ('test_dataloader', 'test_cfg', 'test_evaluator'),
}
"""Settings of which MMEngine needs all or none."""


def check_settings(cfg: Config, splits: Sequence[str], data: CocoData | None = None) -> Iterator[Finding]:
    """Checks the settings of a run that the config decides by itself, or with the number of training images.

    Args:
        cfg: A whole config.
        splits: The splits that will run, of 'train', 'val' and 'test'.
        data: The COCO data of the config, if they are known.
    """
    # A run that trains has all parts checked: MMEngine builds none without the others.
    for split in PARTS if 'train' in splits else splits:
        given = [part for part in PARTS[split] if cfg.get(part) is not None]
        if lacking := [part for part in PARTS[split] if part not in given]:
            if given:
                text = f'{", ".join(given)} without {", ".join(lacking)}'
                yield Finding('parts-missing', split, '', text)
    for split in splits:
        if split != 'train':
            yield from _of_evaluators(cfg, split)
    yield from _of_fishnets(cfg)
    for node in mappings([cfg.get('vis_backends'), cfg.get('visualizer')]):
        packages = BACKENDS.get(name_of(node), ())
        if packages and not any(map(find_spec, packages)):
            yield Finding('package-missing', 'visualizer', '', f'{name_of(node)} needs {" or ".join(packages)}')
    if 'train' in splits:
        yield from _of_training(cfg, data)


def _of_fishnets(cfg: Config) -> Iterator[Finding]:
    for node in mappings(cfg.get('model')):
        if name_of(node) == 'FishNet' and (extra := arguments_not_taken(node, model_class(node))):
            yield Finding('setting-invalid', 'model', '', _not_taken(node, extra))


def _not_taken(node: Mapping, extra: list[str]) -> str:
    return (
        f'{name_of(node)} has no argument {", ".join(extra)}: remove it, or set _delete_=True beside type if it comes '
        'from a base config'
    )


def _of_evaluators(cfg: Config, split: str) -> Iterator[Finding]:
    if twice := figures_of(cfg, split).twice():
        yield Finding('figures-twice', split, '', f'{split}_evaluator gives {", ".join(twice[:3])} more than once')
    for node in mappings(cfg.get(f'{split}_evaluator')):
        if extra := arguments_not_taken(node, metric_class(node)):
            yield Finding('setting-invalid', split, '', f'{split}_evaluator: {_not_taken(node, extra)}')


def _of_training(cfg: Config, data: CocoData | None) -> Iterator[Finding]:
    loop = cfg.get('train_cfg') or {}
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    hooks = [*mappings(cfg.get('custom_hooks')), hook]
    validates = cfg.get('val_cfg') is not None
    if validates:
        yield from _of_figures(cfg, hook, hooks)
    elif hook.get('save_best'):
        yield Finding('no-effect', 'train', '', 'default_hooks.checkpoint.save_best: the run does not validate')
    if length := length_of(cfg, data):
        if validates:
            yield from _of_validation(loop, length)
        yield from _of_checkpoints(hook, length)
        yield from _of_hooks(hooks, length)
        yield from _of_log(cfg, length)
        yield from check_schedules(cfg, length)


def _of_figures(cfg: Config, hook: Mapping, hooks: Sequence[Mapping]) -> Iterator[Finding]:
    """Checks that the figures exist by which checkpoints are kept, learning rates are reduced and runs are stopped."""
    figures = figures_of(cfg, 'val')
    best = hook.get('save_best') or ()
    best = [best] if isinstance(best, str) else list(best)
    if best and figures.complete and not figures.keys:
        yield Finding('no-effect', 'val', '', f'save_best={best}: val_evaluator gives no figures')
        return
    wanted = [('default_hooks.checkpoint.save_best', key) for key in best if key != 'auto']
    plateaus = [node for node in mappings(cfg.get('param_scheduler')) if 'Plateau' in name_of(node)]
    wanted += [(f'{name_of(node)}.monitor', node.get('monitor', 'loss')) for node in plateaus]
    for place, key in wanted:
        if figures.lack(key):
            yield Finding('figure-missing', 'val', '', f'{place}={key!r}{_near(key, figures)}')
    for node in hooks:
        key = node.get('monitor')
        if name_of(node) == 'EarlyStoppingHook' and key and figures.lack(key):
            kind = 'figure-missing' if node.get('strict') else 'no-effect'
            yield Finding(kind, 'val', '', f'EarlyStoppingHook.monitor={key!r}{_near(key, figures)}')
    if best == ['auto'] and figures.complete:
        best = [figures.keys[0]]
    yield from _of_rules(hook, best)


def _near(key: str, figures: Figures) -> str:
    near = difflib.get_close_matches(key, figures.keys, 1, 0.5)
    meant = f'; is {near[0]!r} meant?' if near else ''
    return f': val_evaluator gives {", ".join(figures.keys)}{meant}'


def _of_rules(hook: Mapping, best: Sequence[str]) -> Iterator[Finding]:
    """Checks that it is known whether more or less is better."""
    settings = {key: hook[key] for key in ('rule', 'greater_keys', 'less_keys') if key in hook}
    for keys in [list(best)] if best and best != ['auto'] else []:
        try:
            CheckpointHook(save_best=keys, **settings)
        except (ValueError, KeyError, AssertionError) as error:
            text = f'default_hooks.checkpoint.save_best={keys}, rule={hook.get("rule")!r}: {error}'
            yield Finding('setting-invalid', 'train', '', f"{text}. Set rule='greater' or rule='less'")


def _of_validation(loop: Mapping, length: Length) -> Iterator[Finding]:
    begin, interval = loop.get('val_begin', 1), loop.get('val_interval', 1)
    if begin > length.last:
        text = f'train_cfg.val_begin={begin}: a run of {length.last} {length.unit} never validates'
        yield Finding('no-effect', 'train', '', text)
    elif interval > length.last:
        text = f'train_cfg.val_interval={interval}: a run of {length.last} {length.unit} validates only at its end'
        yield Finding('no-effect', 'train', '', text)


def _of_checkpoints(hook: Mapping, length: Length) -> Iterator[Finding]:
    place, interval = 'default_hooks.checkpoint', hook.get('interval', -1)
    by_epoch = hook.get('by_epoch', True)
    if hook and by_epoch and not length.by_epoch:
        text = f'{place}.by_epoch=True: a loop by iterations has one epoch, and writes a checkpoint only at its end'
        yield Finding('no-effect', 'train', '', f'{text}. Set by_epoch=False, and interval in iterations')
    elif hook and not hook.get('save_last', True) and by_epoch == length.by_epoch:
        if not 0 < interval <= length.last:
            text = f'{place}: interval={interval}, save_last=False: a run of {length.last} {length.unit} writes none'
            yield Finding('no-effect', 'train', '', text)
    if template := hook.get('filename_tmpl'):
        fields = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
        if fields not in ([''], ['0']):
            text = f'{place}.filename_tmpl={template!r} must contain {{}} exactly once, for the epoch or iteration'
            yield Finding('setting-invalid', 'train', '', text)


def _of_hooks(hooks: Sequence[Mapping], length: Length) -> Iterator[Finding]:
    for node in hooks:
        name = name_of(node)
        if name == 'EMAHook':
            # In a loop by iterations MMEngine counts one epoch.
            epochs = length.last if length.by_epoch else 1
            for key, last in (('begin_epoch', epochs), ('begin_iter', None if length.by_epoch else length.last)):
                if last is not None and node.get(key, 0) > last:
                    text = f'EMAHook.{key}={node[key]} is beyond the end of the run, at {last}'
                    yield Finding('setting-invalid', 'train', '', text)
        if name == 'PipelineSwitchHook' and isinstance(switch := node.get('switch_epoch'), int):
            if switch and (not length.by_epoch or switch >= length.last):
                text = f'PipelineSwitchHook.switch_epoch={switch}: not reached in {length.last} {length.unit}'
                yield Finding('no-effect', 'train', '', text)


def _of_log(cfg: Config, length: Length) -> Iterator[Finding]:
    processor = cfg.get('log_processor')
    if isinstance(processor, Mapping) and processor.get('by_epoch', True) and not length.by_epoch:
        text = 'log_processor.by_epoch=True: a loop by iterations has one epoch; set log_processor=dict(by_epoch=False)'
        yield Finding('no-effect', 'train', '', text)
