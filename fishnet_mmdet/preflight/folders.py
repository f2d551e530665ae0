"""Checks data sets without an annotation file: folders of classes, and label maps beside images."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mmengine.config import Config

from fishnet_mmdet.base.config_nodes import class_names, mappings, model_of, name_of
from fishnet_mmdet.preflight.findings import Finding

CLASS_FOLDERS = ('ImageNet', 'CustomDataset', 'TinyImageNet')
"""Data sets whose classes are folders."""

ADE_TREE = """\
  {root}
  |-- images/training/*.jpg, images/validation/*.jpg
  `-- annotations/training/*.png, annotations/validation/*.png"""


def check_folders(cfg: Config, splits: Sequence[str]) -> Iterator[Finding]:
    """Checks the data sets of a classifier (mmpretrain) or a segmentor (mmsegmentation).

    Args:
        cfg: A whole config.
        splits: The splits that will run.
    """
    model = model_of(cfg)
    classes: dict[str, list[str]] = {}
    for split in splits:
        for node in mappings(cfg.get(f'{split}_dataloader')):
            if name_of(node) in CLASS_FOLDERS:
                problem = _class_folders_problem(node, split, (model.get('head') or {}).get('num_classes'))
                if not problem and (names := _class_folders(node)):
                    classes[split] = names
            elif 'seg_map_path' in (node.get('data_prefix') or {}):
                problem = _label_maps_problem(node, split, model.get('decode_head') or {})
            else:
                continue
            if problem:
                yield Finding('folders', split, '', problem)
    if problem := _different_classes(classes):
        yield Finding('folders', ', '.join(classes), '', problem)


def _folder_of_classes(dataset: Mapping) -> Path | None:
    """The folder whose subfolders are the classes; None if a file of annotations names the classes."""
    root = Path(dataset.get('data_root') or '')
    if name_of(dataset) == 'TinyImageNet':
        return root / 'train'
    if dataset.get('ann_file') or (root / 'meta' / f'{dataset.get("split")}.txt').is_file():
        return None
    prefix = dataset.get('data_prefix')
    # MMPretrain takes a text or, as MMEngine, a dict.
    prefix = prefix.get('img_path') if isinstance(prefix, Mapping) else prefix
    return root / (prefix or dataset.get('split') or '')


def _class_folders(dataset: Mapping) -> list[str]:
    """Names of the class folders, in the order of their labels."""
    folder = _folder_of_classes(dataset)
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder and folder.is_dir() else []


def _class_folders_problem(dataset: Mapping, split: str, num_classes: int | None) -> str | None:
    """What is wrong with a classification data set: missing folders, no files, or another number of classes.

    Args:
        dataset: The config of mmpretrain's `ImageNet` or `CustomDataset`, or of our `TinyImageNet`.
        split: The split it belongs to.
        num_classes: Number of classes of the head, if the config says it.
    """
    folder, classes = _folder_of_classes(dataset), _class_folders(dataset)
    if folder is None:
        return None
    if not folder.exists():
        return (
            f'{split} images not found: {folder.resolve()} does not exist. Expected in it: one folder for each class. '
            'If the data are elsewhere: IMAGENET_ROOT=/path/to/imagenet (or TINY_IMAGENET_ROOT) moves the paths of our '
            'configs; in others, set data_root of each loader. Without images: `make demo-chain` draws its own.'
        )
    if classes and not any(files for _, _, files in os.walk(folder, followlinks=True)):
        return f'{folder.resolve()} has folders of {len(classes)} classes, but they hold no files'
    if num_classes is not None and len(classes) != num_classes:
        return (
            f'{folder.resolve()} has {len(classes)} classes ({", ".join(classes[:5])}, ...), the head has '
            f'{num_classes}: set model.head.num_classes={len(classes)} and data_preprocessor.num_classes, or correct '
            'the folder'
        )
    return None


def _label_maps_problem(dataset: Mapping, split: str, decode_head: Mapping | Sequence[Mapping]) -> str | None:
    """What is wrong with a data set of mmsegmentation, which treats a missing folder like an empty one.

    Args:
        dataset: The config, with `data_root` and `data_prefix=dict(img_path=..., seg_map_path=...)`.
        split: The split it belongs to.
        decode_head: Its config, or the configs of a cascade, of which the last one counts.
    """
    root = Path(dataset.get('data_root') or '')
    for key in ('img_path', 'seg_map_path'):
        folder = root / dataset['data_prefix'].get(key, '')
        if not folder.is_dir() or not any(folder.iterdir()):
            return (
                f'{split} data not found: {folder.resolve()} does not exist or is empty.\nExpected under data_root, as '
                f'in ADE20K:\n{ADE_TREE.format(root=root)}\nIf the data are elsewhere: '
                'ADE20K_ROOT=/path/to/ADEChallengeData2016 moves every path of our configs; in others, set data_root '
                'of each loader.'
            )
    last = decode_head if isinstance(decode_head, Mapping) else decode_head[-1]
    classes, num_classes = class_names(dataset, 'mmseg'), last.get('num_classes')
    if classes and num_classes and len(classes) != num_classes:
        return (
            f'the {split} data have {len(classes)} classes ({", ".join(classes[:5])}, ...), the decode head has '
            f'{num_classes}: set num_classes={len(classes)} in model.decode_head and model.auxiliary_head'
        )
    return None


def _different_classes(by_split: Mapping[str, list[str]]) -> str | None:
    """Which class folders differ between splits; each split numbers its labels by the names of its own folders."""
    (first, classes), *others = by_split.items() or [('', [])]
    for split, names in others:
        if names != classes:
            odd = sorted(set(names) ^ set(classes))
            return (
                f'{first} and {split} images have different classes ({", ".join(odd[:5])}): a label must mean the same '
                'in each split'
            )
    return None
