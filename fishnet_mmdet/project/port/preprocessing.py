"""What the image is when it reaches the backbone: RGB with the mean and standard deviation of ImageNet."""

from collections.abc import Iterator, Mapping
from typing import Any

from fishnet_mmdet.project.port.edits import Edit
from fishnet_mmdet.project.port.resnets import KeyPath

MEAN = [123.675, 116.28, 103.53]
STD = [58.395, 57.12, 57.375]


def preprocessing_edits(node: Any, path: KeyPath = ()) -> Iterator[Edit]:
    """Changes of preprocessors that give BGR images, or do not divide by the standard deviation (caffe-style)."""
    if not isinstance(node, Mapping):
        return
    for key, value in node.items():
        if not isinstance(value, Mapping) or not (path == () and key == 'model' or key in _ON_THE_WAY):
            continue
        if key == 'data_preprocessor' and _is_caffe(value):
            yield from _to_rgb(value, (*path, key))
        yield from preprocessing_edits(value, (*path, key))


_ON_THE_WAY = ('data_preprocessor', 'detector', 'model')


def _is_caffe(cfg: Mapping) -> bool:
    mean, std = cfg.get('mean') or (), cfg.get('std') or ()
    if len(mean) != 3 or len(std) != 3:
        return False
    is_bgr = all(abs(a - b) < 1 for a, b in zip(mean, MEAN[::-1], strict=True))
    return is_bgr or all(value == 1 for value in std)


def _to_rgb(cfg: Mapping, path: KeyPath) -> Iterator[Edit]:
    swap = 'to_rgb' if 'to_rgb' in cfg else 'bgr_to_rgb'
    why = 'RGB images with the mean and standard deviation of ImageNet, not those of caffe that the base has'
    yield Edit((*path, 'mean'), MEAN, why)
    yield Edit((*path, 'std'), STD)
    yield Edit((*path, swap), True)
