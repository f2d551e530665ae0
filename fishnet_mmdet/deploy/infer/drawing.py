"""Draws predictions on images.

mmdet's visualizer draws with Matplotlib, which takes half a second for a picture of 640 x 480: too slow for videos.
"""

import colorsys
from functools import lru_cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fishnet_mmdet.deploy.infer.prediction import Prediction

MASK_OPACITY = 0.45
GOLDEN = 0.618034
"""Successive hues that differ by this share of the circle stay far apart, for any number of them."""

Color = tuple[int, int, int]


def draw(image: np.ndarray, prediction: Prediction, by_object: bool = False) -> np.ndarray:
    """Draws masks, boxes and labels: class name and score.

    Args:
        image: The image as the pipeline read it: (H, W) or (H, W, channels), in BGR order if there are three channels.
        prediction: The objects to draw. Those with higher scores lie on top.
        by_object: For a single class: whether each object has a color of its own, and a label with its score only, if
            that is not wider than its box. If not, each class has a color.

    Returns:
        The picture, (H, W, 3), uint8, BGR.
    """
    picture = as_picture(image)
    order = np.argsort(prediction.scores, kind='stable')
    keys = range(len(order)) if by_object else prediction.labels.tolist()
    colors = [color_of(key) for key in keys]
    thickness = max(1, round(min(picture.shape[:2]) / 300))
    if prediction.masks is not None:
        for number in order:
            _draw_mask(picture, prediction.masks[number], colors[number], thickness)
    for number in order:
        left, top, right, bottom = _pixels(prediction.boxes[number], picture)
        cv2.rectangle(picture, (left, top), (right, bottom), colors[number], thickness)
    return _with_labels(picture, prediction, order, colors, by_object)


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
    red, green, blue = colorsys.hsv_to_rgb(key * GOLDEN % 1, 0.75, 1.0)
    return round(255 * blue), round(255 * green), round(255 * red)


def _pixels(box: np.ndarray, picture: np.ndarray) -> tuple[int, int, int, int]:
    """A box in whole pixels inside the picture."""
    height, width = picture.shape[:2]
    box = np.nan_to_num(box).clip(0, (width - 1, height - 1) * 2)
    return tuple(int(round(float(value))) for value in box)


def _draw_mask(picture: np.ndarray, mask: np.ndarray, color: Color, thickness: int) -> None:
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    if not width:
        return
    part, inside = picture[top : top + height, left : left + width], mask[top : top + height, left : left + width]
    part[inside] = (part[inside] * (1 - MASK_OPACITY) + np.array(color) * MASK_OPACITY).astype(np.uint8)
    inside = np.ascontiguousarray(inside).view(np.uint8)
    outlines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(left, top))
    cv2.drawContours(picture, outlines, -1, color, thickness)


def _with_labels(
    picture: np.ndarray, prediction: Prediction, order: np.ndarray, colors: list[Color], by_object: bool
) -> np.ndarray:
    """Writes a label above each box, or inside it where there is no room. OpenCV writes only ASCII."""
    page = Image.fromarray(picture[:, :, ::-1])
    pen = ImageDraw.Draw(page)
    font = _font(max(10, round(min(page.size) / 45)))
    for number in order:
        name = '' if by_object else f'{prediction.names[number]} '
        text = f'{name}{prediction.scores[number]:.2f}'
        _, _, width, height = pen.textbbox((0, 0), text, font=font)
        left, top, right, _ = _pixels(prediction.boxes[number], picture)
        if by_object and width > right - left:
            continue
        left = max(0, min(left, page.width - width - 4))
        top = top - height - 4 if top > height + 4 else top
        blue, green, red = colors[number]
        pen.rectangle((left, top, left + width + 4, top + height + 4), fill=(red, green, blue))
        is_bright = 0.299 * red + 0.587 * green + 0.114 * blue > 128
        pen.text((left + 2, top + 1), text, fill=(0, 0, 0) if is_bright else (255, 255, 255), font=font)
    return np.ascontiguousarray(np.asarray(page)[:, :, ::-1])


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which Matplotlib brings along."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / 'fonts' / 'ttf' / 'DejaVuSans.ttf'), size)
