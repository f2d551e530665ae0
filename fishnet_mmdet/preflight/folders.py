"""Data sets without an annotation file: folders of classes, and label maps beside images."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from fishnet_mmdet.preflight.findings import PreflightError
from fishnet_mmdet.preflight.nodes import class_names

CLASS_FOLDERS = ('ImageNet', 'CustomDataset', 'TinyImageNet')
"""Data sets whose classes are folders."""

ADE_TREE = """\
  {root}
  |-- images/training/*.jpg, images/validation/*.jpg
  `-- annotations/training/*.png, annotations/validation/*.png"""


def check_images_of_classes(dataset: Mapping, split: str, num_classes: int) -> list[str]:
    """Checks one classification dataset config: images are there, and there are as many classes as the head has.

    Args:
        dataset: The config of mmpretrain's `ImageNet` or `CustomDataset`, or of our `TinyImageNet`.
        split: What the messages call it.
        num_classes: Of the head.

    Returns:
        The names of the classes, in order of their labels; none where a file of annotations holds them.

    Raises:
        PreflightError: A missing folder, no file in any, or another number of classes.
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
    if classes and not any(files for _, _, files in os.walk(place, followlinks=True)):
        raise PreflightError(f'{place.resolve()} has folders of {len(classes)} classes, and not one file in them')
    if len(classes) != num_classes:
        raise PreflightError(
            f'{place.resolve()} has {len(classes)} classes ({", ".join(classes[:5])}, ...), the head has {num_classes}: '
            f'set model.head.num_classes={len(classes)} and data_preprocessor.num_classes, or fix the folder'
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
    classes, num_classes = class_names(dataset, 'mmseg'), last.get('num_classes')
    if classes and num_classes and len(classes) != num_classes:
        raise PreflightError(
            f'the {split} data have {len(classes)} classes ({", ".join(classes[:5])}, ...), the decode head has '
            f'{num_classes}: set num_classes={len(classes)} in model.decode_head and model.auxiliary_head'
        )


def check_same_classes(by_split: Mapping[str, list[str]]) -> None:
    """Checks that all splits have the same classes: labels are numbered by the names of folders, in each split for itself.

    Raises:
        PreflightError: A class that one split has and another lacks.
    """
    (first, classes), *others = by_split.items() or [('', [])]
    for split, names in others:
        if names != classes:
            odd = sorted(set(names) ^ set(classes))
            raise PreflightError(
                f'{first} and {split} images have other classes ({", ".join(odd[:5])}): their labels would not mean '
                'the same'
            )
