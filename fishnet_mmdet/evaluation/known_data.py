"""Whether a data set is one that published figures were measured on: COCO val2017 or ImageNet val.

The data decide, not the name of a file or a folder.
"""

import hashlib
from collections.abc import Iterator

import numpy as np

COCO_VAL2017 = 'COCO val2017'
COCO_VAL2017_IMAGES = 5000
COCO_VAL2017_IDS = '1d158ad41c99a053bef0f51e7468b7f183408dec16e5f8162fdfa2203104ba04'
"""SHA-256 of the image ids, in ascending order as decimal numbers, one on a line."""

IMAGENET_VAL = 'ImageNet val'
IMAGENET_CLASSES = 1000
IMAGENET_VAL_IMAGES_OF_A_CLASS = 50


def parts_of(data: object) -> Iterator[object]:
    """Yields the data sets that a concatenated data set is made of; any other data set itself."""
    while hasattr(data, 'dataset'):
        data = data.dataset
    parts = getattr(data, 'datasets', None)
    if parts is None:
        yield data
    else:
        for part in parts:
            yield from parts_of(part)


def is_coco_val2017(data: object) -> bool:
    """Returns whether a data set has the 5,000 images of COCO val2017, by their ids, and COCO's 80 classes in order.

    A copy with other image ids is not recognised.

    Args:
        data: A data set of mmdet.
    """
    if not hasattr(data, 'get_data_info') or len(data) != COCO_VAL2017_IMAGES:
        return False
    from mmdet.datasets import CocoDataset

    if tuple((getattr(data, 'metainfo', None) or {}).get('classes') or ()) != CocoDataset.METAINFO['classes']:
        return False
    try:
        ids = sorted(int(data.get_data_info(number)['img_id']) for number in range(len(data)))
    except (KeyError, TypeError, ValueError):
        return False
    return hashlib.sha256('\n'.join(map(str, ids)).encode()).hexdigest() == COCO_VAL2017_IDS


def is_imagenet_val(data: object) -> bool:
    """Returns whether a data set has 50 images of each of 1000 classes, as ImageNet's validation set.

    Copies with other pixels (ImageNet-C) have the same numbers and are taken for it.

    Args:
        data: A data set of mmpretrain.
    """
    if not hasattr(data, 'get_gt_labels') or len(data) != IMAGENET_CLASSES * IMAGENET_VAL_IMAGES_OF_A_CLASS:
        return False
    labels = np.asarray(data.get_gt_labels())
    return (
        labels.ndim == 1
        and np.array_equal(np.unique(labels), np.arange(IMAGENET_CLASSES))
        and bool((np.bincount(labels) == IMAGENET_VAL_IMAGES_OF_A_CLASS).all())
    )
