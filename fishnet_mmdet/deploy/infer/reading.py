"""Images as the test pipeline of a config reads them, and the pipeline after that."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS

from fishnet_mmdet.base.config_nodes import name_of
from fishnet_mmdet.base.errors import ConfigError, UserError
from fishnet_mmdet.preflight.images import inspect_image
from fishnet_mmdet.preflight.readers import Reader

LOADER = 'LoadImageFromFile'
REMOTE = ('backend_args', 'file_client_args')
"""Arguments of the loader that say where the images of the data set lie. The images here are local files."""


class UnreadableImage(UserError, ValueError):
    """A file that is missing, broken, truncated, too large or not an image; the message says which."""


def inference_dataset(cfg: Config) -> Mapping:
    """Finds the data set of a config's test loader, or else of its validation loader, inside any wrappers.

    Raises:
        ConfigError: The config has neither.
    """
    node = (cfg.get('test_dataloader') or cfg.get('val_dataloader') or {}).get('dataset')
    while node and 'pipeline' not in node:
        node = node.get('dataset') or next(iter(node.get('datasets') or ()), None)
    if not node:
        raise ConfigError(
            f'{cfg.filename}: test_dataloader.dataset has no pipeline. Inference prepares images as the test does'
        )
    return node


class ImagePipeline:
    """A test pipeline in two steps: reading an image, and preparing it for the model.

    Everything that reads annotations is left out.

    Args:
        steps: The configs of the transforms, to be built in the scope of their config.

    Raises:
        ConfigError: No transform is `LoadImageFromFile`.
    """

    def __init__(self, steps: list[Mapping]) -> None:
        steps = [step for step in steps if not _reads_annotations(name_of(step))]
        place = next((index for index, step in enumerate(steps) if name_of(step) == LOADER), None)
        if place is None:
            found = ', '.join(map(name_of, steps))
            raise ConfigError(f'the test pipeline has no {LOADER}, which inference needs; it has {found}')
        loader = {key: value for key, value in steps[place].items() if key not in REMOTE}
        self.loader = TRANSFORMS.build(loader)
        self.to_float32 = bool(loader.get('to_float32'))
        self.reader = Reader(loader.get('imdecode_backend') or 'cv2', loader.get('color_type') or 'color')
        self.before, self.after = Compose(steps[:place]), Compose(steps[place + 1 :])

    def read(self, image: str | Path | np.ndarray) -> dict[str, Any]:
        """Reads an image as in training: EXIF orientation, grayscale, alpha and 16-bit as the config's loader has them.

        Safe in threads.

        Args:
            image: A file; or an array of uint8 as the loader would give it, in most configs (H, W, 3) in BGR order.
                Of an array (H, W), (H, W, 1) or (H, W, 4), three channels are made where the loader would.

        Returns:
            The pipeline's dict with the image under 'img'.

        Raises:
            UnreadableImage: The image cannot be read.
        """
        if isinstance(image, np.ndarray):
            array = self._checked(image)
            size = array.shape[:2]
            return dict(img=array, img_path=None, img_id=0, img_shape=size, ori_shape=size)
        state = inspect_image(image, self.reader)
        if state.problem:
            raise UnreadableImage(state.detail if str(image) in state.detail else f'{image}: {state.detail}')
        try:
            return self.loader(self.before(dict(img_path=str(image), img_id=0)))
        # The file may have changed since; each library raises errors of its own.
        except Exception as error:
            raise UnreadableImage(f'{image}: {error or type(error).__name__}') from error

    def prepare(self, loaded: Mapping[str, Any]) -> dict[str, Any]:
        """Prepares an image, from `read`, for the model: what a data set gives to the collate function."""
        return self.after(dict(loaded))

    def _checked(self, array: np.ndarray) -> np.ndarray:
        if array.dtype not in (np.uint8, np.float32) or array.ndim not in (2, 3) or not array.size:
            raise UnreadableImage(
                f'an array of {array.dtype} and shape {array.shape} is not an image: uint8 (height, width, 3) is, in '
                'BGR order'
            )
        channels = 1 if array.ndim == 2 else array.shape[2]
        if self.reader.flag.startswith('color') and channels in (1, 4):
            array = cv2.cvtColor(array, cv2.COLOR_GRAY2BGR if channels == 1 else cv2.COLOR_BGRA2BGR)
        if self.reader.flag.startswith('grayscale') and channels in (3, 4):
            array = cv2.cvtColor(array, cv2.COLOR_BGR2GRAY if channels == 3 else cv2.COLOR_BGRA2GRAY)
        return array.astype(np.float32) if self.to_float32 else array


def _reads_annotations(name: str) -> bool:
    """Whether a transform loads or filters annotations, such as mmdet's LoadPanopticAnnotations."""
    return name.endswith('Annotations') and name.startswith(('Load', 'Filter'))
