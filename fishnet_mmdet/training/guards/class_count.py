"""Stops a run whose heads have another number of classes than its data, before the first iteration."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.training.runner_parts import bare_model

OTHER_CLASSES = {
    'backbone', 'neck', 'rpn_head', 'FusedSemanticHead', 'GroundingDINOHead', 'ATSSVLFusionHead', 'LinearReIDHead',
    'STDCHead',
}  # fmt: skip
"""Names or types of modules whose `num_classes` does not count the data's classes.

Heads that read text count its tokens, heads of re-identification count persons, and STDC's tells edges from the rest.
"""

TRACKER = 'BaseMOTModel'
"""MMDetection's base of trackers. Their validation data list all classes of a benchmark, also those not detected."""

WRAPPED = ('detector', 'model', 'architecture')
"""Settings under which wrappers have the model that they wrap."""

THINGS, STUFF = 'thing_classes', 'stuff_classes'
"""Keys of panoptic `metainfo` for the two kinds of classes. Other data have only `classes`, all of them things."""


@dataclass(frozen=True)
class Count:
    """A number of classes that a model was built with.

    Attributes:
        key: Its key in the config.
        value: The number.
        kind: Which classes of the data it counts: THINGS or STUFF.
    """

    key: str
    value: int
    kind: str


class ClassCountError(UserError, ValueError):
    """Model and data have different numbers of classes; the message names every key, its value and the fix."""


@HOOKS.register_module()
class ClassCountGuard(Hook):
    """Refuses a model whose heads have another number of classes than the data, and names the config keys to set.

    It checks every head (boxes, masks, decoders, classifiers, things and stuff of panoptic heads). Before training it
    checks the validation data too. One message reports everything that does not fit. mmdet's NumClassCheckHook stops at
    the first head, names no key, checks the validation data only after the first epoch, and refuses panoptic models.

    Raises:
        ClassCountError: A count does not fit, or `classes` is a string.
    """

    def before_train(self, runner: Runner) -> None:
        """Checks the training data, and the validation data if the run validates."""
        loaders = {'train': runner.train_dataloader}
        if runner.val_loop is not None:
            loaders['val'] = runner.val_dataloader
        _check(runner, loaders)

    def before_val(self, runner: Runner) -> None:
        """Checks the validation data."""
        _check(runner, {'val': runner.val_dataloader})

    def before_test(self, runner: Runner) -> None:
        """Checks the test data."""
        _check(runner, {'test': runner.test_dataloader})


def _check(runner: Runner, loaders: Mapping) -> None:
    model = bare_model(runner.model)
    is_tracker = TRACKER in {kind.__name__ for kind in type(model).__mro__}
    metas = {
        split: getattr(loader.dataset, 'metainfo', {})
        for split, loader in loaders.items()
        if split == 'train' or not is_tracker
    }
    # A runner made of objects has no config.
    config = getattr(getattr(runner, 'cfg', None), 'model', None)
    # Test-time augmentation wraps the config too.
    config = config.get('module', config) if isinstance(config, Mapping) else None
    lines = [line for split, meta in metas.items() for line in mismatches(model, meta, split, config)]
    if lines:
        raise ClassCountError(
            'the number of classes does not fit:\n  ' + '\n  '.join(lines) + '\n'
            'If the model counts other classes on purpose, add to the config: '
            "default_hooks=dict(safety=dict(type='SafetyHooks', without=['ClassCountGuard']))"
        )


def mismatches(model: nn.Module, metainfo: Mapping, split: str, config: object = None) -> list[str]:
    """Returns one line for each class count of a model that differs from the data.

    Args:
        model: The model.
        metainfo: The data's `classes` and, for panoptic data, `thing_classes` and `stuff_classes`.
        split: Name of the data in the lines: 'train', 'val' or 'test'.
        config: The model's config, which decides the keys; None names the model's own modules.

    Raises:
        ClassCountError: `classes` is a string rather than a sequence of strings.
    """
    if isinstance(names := metainfo.get('classes'), str):
        raise ClassCountError(
            f'{split}_dataloader.dataset.metainfo.classes is the string {names!r}. A single class is written with a '
            f'comma: metainfo=dict(classes=({names!r},))'
        )
    lines = []
    for count in class_counts(model, config):
        # Where the data have stuff too, heads of boxes and masks count only the things.
        classes = metainfo.get(count.kind, metainfo.get('classes') if count.kind == THINGS else None)
        if classes is not None and len(classes) != count.value:
            kind = 'classes' if count.kind not in metainfo else count.kind.replace('_', ' ')
            some = ', '.join(map(str, classes[:5])) + ', ...' * (len(classes) > 5)
            fixes = [f'set {count.key}={len(classes)}', f'correct {split}_dataloader.dataset.metainfo.classes']
            first, second = fixes if split == 'train' else reversed(fixes)
            lines.append(
                f'{count.key} = {count.value}, but the {split} data have {len(classes)} {kind} ({some}): {first}, '
                f'or {second}'
            )
    # One setting may make several heads.
    return list(dict.fromkeys(lines))


def class_counts(model: nn.Module, config: object = None) -> Iterator[Count]:
    """Yields every count of the data's classes in a model.

    Args:
        model: The model.
        config: Its config; see `mismatches`.
    """
    for path, module in model.named_modules():
        # Test-time augmentation wraps the model.
        path = path.removeprefix('module.')
        # The detector as a whole repeats counts of its heads.
        kinds = {kind.__name__ for kind in type(module).__mro__}
        if path in ('', 'module') or OTHER_CLASSES & {*path.split('.'), *kinds}:
            continue
        # mmpretrain's preprocessor is a top-level key of the config.
        key = path if path == 'data_preprocessor' else f'model.{_place(path.split("."), config) or path}'
        counts = {THINGS: 'num_things_classes', STUFF: 'num_stuff_classes'}
        if not hasattr(module, counts[THINGS]):
            counts = {THINGS: 'num_classes'}
        for kind, name in counts.items():
            value = getattr(module, name, None)
            # Losses have -1 where nothing was set.
            if type(value) is int and value > 0:
                yield Count(f'{key}.{name}', value, kind)


def _place(path: Sequence[str], node: object) -> str | None:
    """Finds the setting that made a module.

    Args:
        path: Names of modules, from the model to the one in question.
        node: The model's config.

    Returns:
        The keys from the model to the module, joined by dots; None where the config has no such module.
    """
    if not isinstance(node, Mapping | list | tuple):
        return None
    if not path:
        return ''
    name, *rest = path
    if isinstance(node, Mapping):
        # A module of a list that one dict has made for all places: `mask_head` of a cascade.
        nested = [(name, node[name])] if name in node else [('', node)] if name.isdigit() else []
        # A wrapper such as SoftTeacher has modules, `student` and `teacher`, of other names than its settings.
        wrapped = [] if nested else [(key, node[key]) for key in WRAPPED if isinstance(node.get(key), Mapping)]
    else:
        nested = [(name, node[int(name)])] if name.isdigit() and int(name) < len(node) else []
        wrapped = []
    for key, child in nested + wrapped:
        found = _place(rest, child)
        if found is not None:
            return '.'.join(filter(None, (key, found)))
    return None
