"""What can be told before a model is built: are the data and the weights there, do the classes fit."""

import json
import urllib.error
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
import torch.hub
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import CheckpointLoader

from fishnet_mmdet.fishnet import FishNet
from fishnet_mmdet.weights.files import WeightsError
from fishnet_mmdet.weights.load import load_backbone

COCO_TREE = """\
  {root}
  |-- annotations/instances_train2017.json, instances_val2017.json
  |-- train2017/*.jpg
  `-- val2017/*.jpg"""

PANOPTIC_TREE = """\
  {root}
  |-- annotations/panoptic_train2017.json, panoptic_val2017.json
  |-- annotations/panoptic_train2017/*.png, annotations/panoptic_val2017/*.png (zipped in COCO's own download)
  |-- train2017/*.jpg
  `-- val2017/*.jpg"""

ADE_TREE = """\
  {root}
  |-- images/training/*.jpg, images/validation/*.jpg
  `-- annotations/training/*.png, annotations/validation/*.png"""

WEIGHTS_HELP = """\
Weights of your own, of any known layout? Name the file with
  --cfg-options model.backbone.init_cfg.checkpoint=PATH
No weights? Train from scratch with live BN: configs/mask_rcnn_fishnet150_fpn_scratch.py"""


class PreflightError(RuntimeError):
    """Something a run needs is missing or does not fit; the message names it and the mend."""


def check(cfg: Config, splits: Sequence[str], weights: bool) -> None:
    """Checks data, classes and, on demand, pretrained weights of a config. Nothing is built.

    Args:
        cfg: A whole MMDetection config.
        splits: Which loaders are going to run, out of 'train', 'val', 'test'.
        weights: Whether pretrained files are going to be loaded; missing ones that have an address are downloaded.

    Raises:
        PreflightError: A path that does not exist, classes that do not fit the annotations, or weights that cannot
            be had.
    """
    of_classes = {}
    model = cfg.model.get('module', cfg.model)  # test-time augmentation wraps the model
    for split in splits:
        for node in _mappings(cfg.get(f'{split}_dataloader')):  # datasets may be wrapped
            kind = str(node.get('type')).split('.')[-1]
            if kind in ('ImageNet', 'CustomDataset', 'TinyImageNet'):
                of_classes[split] = check_images_of_classes(node, split, model.head.num_classes)
            elif 'seg_map_path' in (node.get('data_prefix') or {}):
                check_label_maps(node, split, model.decode_head)
            elif 'ann_file' in node:
                check_dataset(node, split, cfg.get('ignored_classes', ()))
    _check_same_classes({split: names for split, names in of_classes.items() if names})
    if weights:
        for node in _mappings(cfg.model):
            for init in _pretrained(node):
                if str(node.get('type')).endswith('FishNet'):
                    check_fishnet_weights(node, init)
                else:
                    check_weights(init['checkpoint'])


def check_dataset(dataset: Mapping, split: str, ignored_classes: Sequence[str] = ()) -> None:
    """Checks one COCO-style dataset config: files are there, and its classes are the annotations'.

    Args:
        dataset: The config, with `data_root`, `ann_file`, `data_prefix` and perhaps `metainfo`.
        split: What the messages call it.
        ignored_classes: Categories of the annotations that the config leaves out on purpose.

    Raises:
        PreflightError: A missing path, or class lists that differ.
    """
    root = Path(dataset.get('data_root') or '')
    annotations = root / dataset['ann_file']
    prefix = dataset.get('data_prefix', {})
    folders = [root / prefix[key] for key in ('img', 'seg') if prefix.get(key)]
    tree = PANOPTIC_TREE if prefix.get('seg') else COCO_TREE
    for path in (annotations, *(folders or [root])):
        if '://' not in str(path) and not path.exists():
            raise PreflightError(
                f'{split} data not found: {path.resolve()} does not exist.\nExpected COCO layout under data_root:\n'
                f'{tree.format(root=root)}\nData elsewhere? COCO_ROOT=/path/to/coco '
                'moves every path of our COCO configs; in others, set data_root of each loader and ann_file of each evaluator.\nNo COCO at hand? `make demo` trains on images that it draws itself.'
            )
    check_classes(annotations, _class_names(dataset), split, ignored_classes)


def check_images_of_classes(dataset: Mapping, split: str, num_classes: int) -> list[str]:
    """Checks one classification dataset config: images are there, and there are as many classes as the head has.

    Args:
        dataset: The config of mmpretrain's `ImageNet` or `CustomDataset`, or of our `TinyImageNet`.
        split: What the messages call it.
        num_classes: Of the head.

    Returns:
        The names of the classes, in order of their labels; none where a file of annotations holds them.

    Raises:
        PreflightError: A missing folder, or another number of classes.
    """
    root = Path(dataset.get('data_root') or '')
    is_tiny = str(dataset['type']).endswith('TinyImageNet')
    place = root / ('train' if is_tiny else dataset.get('data_prefix') or dataset.get('split') or '')
    if not is_tiny and (dataset.get('ann_file') or (root / 'meta' / f'{dataset.get("split")}.txt').is_file()):
        return []
    classes = sorted(path.name for path in place.iterdir() if path.is_dir()) if place.is_dir() else []
    if not place.exists():
        raise PreflightError(
            f'{split} images not found: {place.resolve()} does not exist. Expected one folder for each class in it. Data '
            'elsewhere? IMAGENET_ROOT=/path/to/imagenet (TINY_IMAGENET_ROOT) moves the paths of our configs; in others, '
            'set data_root of each loader. No images at hand? `make demo-chain` draws its own.'
        )
    if len(classes) != num_classes:
        raise PreflightError(
            f'{place.resolve()} has {len(classes)} classes ({", ".join(classes[:5])}, ...), the head has {num_classes}: '
            f'set model.head.num_classes={len(classes)} and data_preprocessor.num_classes, or mend the folder'
        )
    return classes


def check_label_maps(dataset: Mapping, split: str, decode_head: Mapping | Sequence[Mapping]) -> None:
    """Checks one dataset config of mmsegmentation: images and maps are there, and classes as many as the head has.

    mmsegmentation takes a missing folder for an empty one.

    Args:
        dataset: The config, with `data_root` and `data_prefix=dict(img_path=..., seg_map_path=...)`.
        split: What the messages call it.
        decode_head: Its config, or those of a cascade, whose last one counts.

    Raises:
        PreflightError: A missing or empty folder, or another number of classes.
    """
    root = Path(dataset.get('data_root') or '')
    for key in ('img_path', 'seg_map_path'):
        folder = root / dataset['data_prefix'][key]
        if not folder.is_dir() or not any(folder.iterdir()):
            raise PreflightError(
                f'{split} data not found: {folder.resolve()} does not exist or is empty.\nExpected ADE20K layout under '
                f'data_root:\n{ADE_TREE.format(root=root)}\nData elsewhere? ADE20K_ROOT=/path/to/ADEChallengeData2016 '
                'moves every path of our configs; in others, set data_root of each loader.'
            )
    last = decode_head if isinstance(decode_head, Mapping) else decode_head[-1]
    classes, num_classes = _class_names(dataset, 'mmseg'), last.get('num_classes')
    if classes and num_classes and len(classes) != num_classes:
        raise PreflightError(
            f'the {split} data have {len(classes)} classes ({", ".join(classes[:5])}, ...), the decode head has '
            f'{num_classes}: set num_classes={len(classes)} in model.decode_head and model.auxiliary_head'
        )


def _check_same_classes(by_split: Mapping[str, list[str]]) -> None:
    """Labels are numbered by the names of folders, in each split for itself."""
    (first, classes), *others = by_split.items() or [('', [])]
    for split, names in others:
        if names != classes:
            odd = sorted(set(names) ^ set(classes))
            raise PreflightError(
                f'{first} and {split} images have other classes ({", ".join(odd[:5])}): their labels would not mean '
                'the same'
            )


def check_classes(annotations: Path, classes: Sequence[str], split: str, ignored: Sequence[str] = ()) -> None:
    """Checks that a config and an annotation file mean the same classes, in the same order.

    MMDetection numbers labels by the annotation file and names them by the config, and says nothing where the two
    differ: labels shift, or carry wrong names.

    Raises:
        PreflightError: Not a COCO file, or other classes; it shows both lists.
    """
    try:
        categories = json.loads(annotations.read_text())['categories']
        names = [category['name'] for category in categories]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PreflightError(f'{annotations}: not a COCO annotation file: {error!r}') from error
    kept = [name for name in names if name not in ignored]
    if kept == list(classes):
        return
    unknown = [name for name in kept if name not in classes]
    missing = [name for name in classes if name not in names]
    problem = ' and '.join(
        part
        for part in (
            f'{annotations} has classes that the config does not know: {unknown}' * bool(unknown),
            f'the config has classes that {annotations} lacks: {missing}' * bool(missing),
        )
        if part
    )
    raise PreflightError(
        f'classes of the {split} data do not fit: {problem or "the same names in another order"}.\n'
        f'  annotations: {names}\n  config:      {list(classes)}\n'
        'Set metainfo=dict(classes=(...)) of each loader to the names of the annotations, in their order, and '
        "num_classes of every head to their number. To leave categories out on purpose, name them in the config's "
        'ignored_classes=(...).'
    )


def check_fishnet_weights(backbone: Mapping, init: Mapping) -> None:
    """Checks that pretrained weights of a FishNet can be had and fit it key by key; downloads those that have a name.

    Args:
        backbone: Config of the FishNet.
        init: The `Pretrained` of its `init_cfg`.

    Raises:
        PreflightError: Weights that cannot be had, read or fitted.
    """
    arguments = {key: value for key, value in backbone.items() if key not in ('type', 'init_cfg')}
    with torch.device('meta'):
        target = FishNet(**arguments).state_dict()
    try:
        load_backbone(init['checkpoint'], target, init.get('prefix'))
    except WeightsError as error:
        raise PreflightError(f'pretrained weights: {error}\n{WEIGHTS_HELP}') from error


def check_weights(checkpoint: str) -> None:
    """Checks that pretrained weights of another network can be read, and downloads those that have an address.

    Raises:
        PreflightError: No such file, no network, or not a checkpoint.
    """
    if '://' not in checkpoint and not Path(checkpoint).is_file():
        raise PreflightError(
            f'pretrained weights not found: {Path(checkpoint).resolve()} does not exist.\n{WEIGHTS_HELP}'
        )
    try:
        CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    except (urllib.error.URLError, OSError) as error:
        cache = Path(torch.hub.get_dir()) / 'checkpoints'
        raise PreflightError(
            f'pretrained weights {checkpoint} cannot be downloaded: {error}.\nOn a machine with a network, load them '
            f'once and copy the file into {cache}; or name a local file with\n'
            '  --cfg-options model.backbone.init_cfg.checkpoint=PATH'
        ) from error
    except Exception as error:  # torch and pickle raise a dozen kinds for a file that is no checkpoint
        raise PreflightError(
            f'pretrained weights {checkpoint} cannot be read as a checkpoint: {error}\n{WEIGHTS_HELP}'
        ) from error


def _mappings(node: object) -> Iterator[Mapping]:
    """Every mapping in a piece of a config, from the outside in."""
    if isinstance(node, Mapping):
        yield node
    if isinstance(node, Mapping | list | tuple):
        for value in node.values() if isinstance(node, Mapping) else node:
            yield from _mappings(value)


def _pretrained(node: Mapping) -> list[Mapping]:
    """The `Pretrained` of a module's config, as a list of at most one."""
    init = node.get('init_cfg') or []
    return [i for i in ([init] if isinstance(init, Mapping) else init) if i.get('type') == 'Pretrained'][:1]


def _class_names(dataset: Mapping, scope: str = 'mmdet') -> Sequence[str]:
    """The classes that a dataset config means: its own, or those of its dataset class, which `scope` registers."""
    own = dataset.get('metainfo', {}) or {}
    if 'classes' in own:
        return own['classes']
    kind = dataset['type']
    return DATASETS.get(kind if '.' in kind else f'{scope}.{kind}').METAINFO.get('classes', ())
