"""Image scales that are far above the sizes of the data."""

from collections.abc import Iterator, Mapping

import numpy as np

from fishnet_mmdet.base.config_nodes import mappings, name_of
from fishnet_mmdet.data.coco_fields import are_numbers
from fishnet_mmdet.preflight.coco import CocoData
from fishnet_mmdet.preflight.findings import Finding
from fishnet_mmdet.preflight.loaders import Loader

SEVERAL = 3.0
"""How many times as long a side may become. Scales that are used for COCO (640 x 480) reach 2.7: 2048 x 1280."""

FIX = (
    'set {key} near the size of the median image, {size}, in training and testing: enlarging costs time and memory and '
    'adds no detail. If it is on purpose, for tiny objects: preflight=dict(ignore=["images-enlarged"])'
)

RESIZING = ('Resize', 'FixScaleResize', 'RandomResize', 'RandomChoiceResize')
"""Steps of mmcv and MMDetection that scale an image to a size. A `scale_factor` is meant as it is, and not checked."""


def check_scales(data: CocoData) -> Iterator[Finding]:
    """Names the pipelines that enlarge most images several times.

    Args:
        data: The COCO data of a config, with the sizes of their images.
    """
    for loader in data.read_loaders:
        if len(sides := _sides(data, loader)):
            for node in loader.nodes:
                if found := _enlarging(node, sides):
                    text, fix = found
                    yield Finding('images-enlarged', loader.where, '', text, fix=fix)


def _sides(data: CocoData, loader: Loader) -> np.ndarray:
    """(N, 2) longer and shorter side of each image that is taken."""
    contents = data.files[loader.file]
    images = [contents.images[key] for key in loader.take(contents)]
    sizes = np.array([(image.width, image.height) for image in images], np.float64).reshape(-1, 2)
    return np.sort(sizes, axis=1)[:, ::-1]


def _enlarging(dataset: Mapping, sides: np.ndarray) -> tuple[str, str] | None:
    """What a pipeline does, and the fix, if every step in it that scales enlarges most images several times."""
    pipeline = list(mappings(dataset.get('pipeline') or ()))
    if any('Mosaic' in name_of(step) for step in pipeline):
        # It makes one large image of several.
        return None
    steps = [step for step in pipeline if name_of(step) in RESIZING]
    factors = [(_factor(step, sides), step) for step in steps]
    if not factors or any(factor is None for factor, _ in factors):
        return None
    factor, step = min(factors, key=lambda item: item[0])
    if factor < SEVERAL:
        return None
    longer, shorter = np.median(sides, axis=0)
    key = 'scales' if name_of(step) == 'RandomChoiceResize' else 'scale'
    text = (
        f'{name_of(step)}({key}={step[key]}) makes the sides of half of the images {factor:.1f} times as long or '
        f'longer; the median image is {longer:.0f} x {shorter:.0f}'
    )
    return text, FIX.format(key=key, size=f'({longer:.0f}, {shorter:.0f})')


def _factor(step: Mapping, sides: np.ndarray) -> float | None:
    """By how much a step multiplies the sides of the median image, on average; None if it does not say a size."""
    scale = step.get('scales' if name_of(step) == 'RandomChoiceResize' else 'scale')
    scales = scale if isinstance(scale, list | tuple) and scale and isinstance(scale[0], list | tuple) else [scale]
    scales = [(side, side) if isinstance(side, int) else side for side in scales]
    if not all(are_numbers(pair, 2) and min(pair) > 0 for pair in scales):
        return None
    ratio = np.mean(step.get('ratio_range') or 1.0)
    # Not larger than the scale: the side that fits less decides.
    factors = [np.median((np.sort(pair)[::-1] / sides).min(axis=1)) for pair in scales]
    return float(np.mean(factors) * ratio)
