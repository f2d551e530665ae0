"""Draws predictions on images.

mmdet's visualizer draws with Matplotlib, which takes half a second for a picture of 640 x 480: too slow for videos.
"""

import colorsys

import cv2
import numpy as np

from fishnet_mmdet.deploy.infer.labels import Color, Shape, add_legend, pick_labels, write_labels
from fishnet_mmdet.deploy.infer.prediction import Prediction

MASK_OPACITY = 0.45
GOLDEN = 0.618034
"""Successive hues that differ by this share of the circle stay far apart, for any number of them."""

TONES = ((0.75, 1.0), (0.4, 1.0), (0.85, 0.8), (0.6, 0.7), (0.25, 1.0))
"""Saturation and value. Keys whose hues are close differ by a Fibonacci number from 8 on, few of which are multiples
of five."""

ENOUGH = 720
"""Pictures are enlarged by whole factors as long as their longer side has no more than so many pixels."""

MOST_ENLARGED = 4


def draw(image: np.ndarray, prediction: Prediction, by_object: bool = False, legend: bool = True) -> np.ndarray:
    """Draws masks, boxes and labels.

    A label is class name and score, or the score alone, in a place where all labels together cover at most
    `labels.COVERED` of any object. An object that has no such place gets no label.

    Args:
        image: The image as the pipeline read it: (H, W) or (H, W, channels), in BGR order if there are three channels.
        prediction: The objects to draw. Those with higher scores lie on top.
        by_object: For a single class: each object has a color of its own, and a label with its score only. If not,
            each class has a color.
        legend: Whether the classes may be listed below the picture, which then becomes higher. They are if there is a
            class whose name no label shows.

    Returns:
        The picture, uint8, BGR, (factor H, factor W, 3) with the factor of `enlargement`; higher with a legend.
    """
    factor = enlargement(*image.shape[:2])
    picture = as_picture(image)
    if factor > 1:
        picture = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    order = np.argsort(prediction.scores, kind='stable')
    shapes = [_shape(prediction, number, by_object, factor, picture) for number in order]
    for shape in shapes:
        _fill(picture, shape)
    line = max(1, round(min(picture.shape[:2]) / 300))
    for shape in shapes:
        _outline(picture, shape, line)
    # The labels of higher scores are placed first.
    labels = pick_labels(shapes[::-1], picture.shape[:2], names=not by_object)
    picture = write_labels(picture, labels)
    if legend and not by_object and {shape.name for shape in shapes} - {label.name for label in labels}:
        picture = add_legend(picture, shapes)
    return picture


def enlargement(height: int, width: int) -> int:
    """The factor by which a picture of this size is drawn larger, so that lines and figures of a few pixels fit."""
    return min(MOST_ENLARGED, max(1, ENOUGH // max(height, width)))


def as_picture(image: np.ndarray) -> np.ndarray:
    """Copies an image of any number of channels and any depth as (H, W, 3), uint8, in BGR order."""
    if image.dtype == np.uint16:
        image = image // 257
    if image.dtype != np.uint8:
        image = np.nan_to_num(image).clip(0, 255).astype(np.uint8)
    if image.ndim == 2 or image.shape[2] < 3:
        image = np.repeat(image.reshape(*image.shape[:2], -1)[:, :, :1], 3, axis=2)
    return np.ascontiguousarray(image[:, :, :3]).copy()


def color_of(key: int) -> Color:
    """A bright color for a class or an object."""
    red, green, blue = colorsys.hsv_to_rgb(key * GOLDEN % 1, *TONES[key % len(TONES)])
    return round(255 * blue), round(255 * green), round(255 * red)


def _shape(prediction: Prediction, number: int, by_object: bool, factor: int, picture: np.ndarray) -> Shape:
    """An object in pixels of the picture."""
    height, width = picture.shape[:2]
    box = np.nan_to_num(prediction.boxes[number] * factor).clip(0, (width - 1, height - 1) * 2)
    corner, inside = (0, 0), None
    if prediction.masks is not None:
        mask = prediction.masks[number]
        left, top, wide, high = cv2.boundingRect(mask.view(np.uint8))
        part = mask[top : top + high, left : left + wide]
        corner, inside = (left * factor, top * factor), part.repeat(factor, 0).repeat(factor, 1)
    return Shape(
        box=tuple(round(float(value)) for value in box),
        corner=corner,
        inside=inside,
        color=color_of(number if by_object else int(prediction.labels[number])),
        name=prediction.names[number],
        score=float(prediction.scores[number]),
    )


def _fill(picture: np.ndarray, shape: Shape) -> None:
    if shape.inside is None or not shape.inside.size:
        return
    (left, top), (high, wide) = shape.corner, shape.inside.shape
    part = picture[top : top + high, left : left + wide]
    tinted = part[shape.inside] * (1 - MASK_OPACITY) + np.array(shape.color) * MASK_OPACITY
    part[shape.inside] = tinted.astype(np.uint8)


def _outline(picture: np.ndarray, shape: Shape, line: int) -> None:
    """Draws the outline of a mask, and the box; lines of small objects are thinner than `line`."""
    left, top, right, bottom = shape.box
    line = min(line, max(1, round(shape.side / 24)))
    if shape.inside is not None and shape.inside.size:
        inside = shape.inside.view(np.uint8)
        outlines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=shape.corner)
        cv2.drawContours(picture, outlines, -1, shape.color, line)
        line = max(1, line // 2)
    cv2.rectangle(picture, (left, top), (right, bottom), shape.color, line)
