"""Do the heads of a model have as many classes as its data? Told before the first iteration, with the key to set."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

OTHER_CLASSES = {'backbone', 'neck', 'rpn_head', 'FusedSemanticHead'}
"""Names or types of modules whose `num_classes` is not the data's: a backbone's own classifier, objectness, stuff."""

THINGS, STUFF = 'thing_classes', 'stuff_classes'
"""What panoptic data call their two kinds of classes. Other data have `classes` alone, all of them things."""


@dataclass(frozen=True)
class Count:
    """A number of classes that a model was built with.

    Attributes:
        key: Where the config says it.
        value: The number.
        kind: Which classes of the data it counts: THINGS or STUFF.
    """

    key: str
    value: int
    kind: str


@HOOKS.register_module()
class ClassCountGuard(Hook):
    """Refuses a model whose heads have another number of classes than the data, with the config key to set.

    It looks at every head (boxes, masks, decoders, classifiers, things and stuff of panoptic ones) and, before training,
    at the validation data too; all that does not fit is told at once. mmdet's NumClassCheckHook stops at the first
    head, names no key, looks at the validation data only after the first epoch, and refuses panoptic models.

    Raises:
        ValueError: A count that does not fit, or `classes` that are a string.
    """

    def before_train(self, runner: Runner) -> None:
        """Checks the training data, and the validation data that this run is going to use."""
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
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    metas = {split: getattr(loader.dataset, 'metainfo', {}) for split, loader in loaders.items()}
    told = [line for split, meta in metas.items() for line in mismatches(model, meta, split)]
    if told:
        raise ValueError('the number of classes does not fit:\n  ' + '\n  '.join(told))


def mismatches(model: nn.Module, metainfo: Mapping, split: str) -> list[str]:
    """One line for each count of a model that is not that of the data.

    Args:
        model: As it was built.
        metainfo: The data's `classes` and, for panoptic data, `thing_classes` and `stuff_classes`.
        split: What the lines call the data.

    Raises:
        ValueError: `classes` are a string rather than a sequence of them.
    """
    if isinstance(names := metainfo.get('classes'), str):
        raise ValueError(
            f'{split}_dataloader.dataset.metainfo.classes is the string {names!r}; one class alone is written with a '
            f'comma: metainfo=dict(classes=({names!r},))'
        )
    lines = []
    for count in class_counts(model):
        # Heads of boxes and masks count the things alone where the data have stuff too.
        classes = metainfo.get(count.kind, metainfo.get('classes') if count.kind == THINGS else None)
        if classes is not None and len(classes) != count.value:
            kind = 'classes' if count.kind not in metainfo else count.kind.replace('_', ' ')
            some = ', '.join(map(str, classes[:5])) + ', ...' * (len(classes) > 5)
            fixes = [f'{count.key}={len(classes)}', f'the classes of {split}_dataloader.dataset.metainfo']
            first, second = fixes if split == 'train' else reversed(fixes)
            lines.append(
                f'{count.key} = {count.value}, but the {split} data have {len(classes)} {kind} ({some}): set {first}, '
                f'or {second}'
            )
    return lines


def class_counts(model: nn.Module) -> Iterator[Count]:
    """Every count of the data's classes in a model, under the key of its config."""
    for path, module in model.named_modules():
        path = path.removeprefix('module.')  # test-time augmentation wraps the model
        # Detectors as a whole show counts of their heads.
        kinds = {kind.__name__ for kind in type(module).__mro__}
        if path in ('', 'module') or OTHER_CLASSES & {*path.split('.'), *kinds}:
            continue
        # mmpretrain's preprocessor has a place of its own in the config.
        key = path if path == 'data_preprocessor' else f'model.{path}'
        counts = {THINGS: 'num_things_classes', STUFF: 'num_stuff_classes'}
        if not hasattr(module, counts[THINGS]):
            counts = {THINGS: 'num_classes'}
        for kind, name in counts.items():
            value = getattr(module, name, None)
            if type(value) is int and value > 0:  # losses say -1 for what nobody set
                yield Count(f'{key}.{name}', value, kind)
