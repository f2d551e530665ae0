"""COCO results of any number of images, written entry by entry."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from fishnet_mmdet.base.atomic import atomic_file
from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.deploy.infer.prediction import Prediction

RESULTS, IMAGES = 'results.json', 'images.json'
"""Names of the two files: the detections, and which image each id stands for."""


class JsonList:
    """A list in a JSON file that is written as its entries come.

    Args:
        file: The open file.
        head: JSON before the list.
    """

    def __init__(self, file: BinaryIO, head: str = '') -> None:
        self.file = file
        self._separator = f'{head}[\n'

    def add(self, entry: Mapping) -> None:
        """Writes an entry."""
        self.file.write(f'{self._separator}{json.dumps(entry)}'.encode())
        self._separator = ',\n'

    def close(self, tail: str = '') -> None:
        """Writes the end of the list, and JSON after it."""
        start = self._separator if self._separator != ',\n' else '\n'
        self.file.write(f'{start}]{tail}\n'.encode())


class ResultFiles:
    """The two files that `open_results` opens: COCO results, and the images and categories that they name."""

    def __init__(self, results: JsonList, images: JsonList, category_ids: Sequence[int]) -> None:
        self.results, self.images, self.category_ids = results, images, category_ids

    def add(self, image: Mapping[str, Any], prediction: Prediction) -> None:
        """Writes one image and its detections.

        Args:
            image: Its `id`, `file_name` and any more.
            prediction: The detections.

        Raises:
            UserError: The model has more classes than there are names, or gives numbers that are not finite.
        """
        if not (np.isfinite(prediction.boxes).all() and np.isfinite(prediction.scores).all()):
            raise UserError(f'{image["file_name"]}: the model gives boxes or scores that are not finite numbers')
        if len(prediction) and (label := prediction.labels.max()) >= len(self.category_ids):
            raise UserError(
                f'the model gives the label {label}, and there are only {len(self.category_ids)} class names: set '
                'metainfo=dict(classes=(...)) in test_dataloader.dataset of the config'
            )
        self.images.add({**image, 'width': prediction.width, 'height': prediction.height})
        for row in coco_rows(prediction, image['id'], self.category_ids):
            self.results.add(row)


@contextmanager
def open_results(
    folder: Path, category_ids: Sequence[int], classes: Sequence[str], info: Mapping[str, Any], passed_over: list
) -> Iterator[ResultFiles]:
    """Context that writes `RESULTS` and `IMAGES` into a folder; both get their names at the end, whole.

    The second file is a COCO annotation file without annotations: `COCO(IMAGES).loadRes(RESULTS)` works.

    Args:
        folder: The folder.
        category_ids: Category id of each class.
        classes: Class names in the order of the labels.
        info: What COCO's `info` says.
        passed_over: Pairs of a name and a reason; read at the end.

    Yields:
        The files.
    """
    with ExitStack() as stack:
        images = JsonList(
            stack.enter_context(atomic_file(folder / IMAGES)), f'{{"info": {json.dumps(info)}, "images": '
        )
        results = JsonList(stack.enter_context(atomic_file(folder / RESULTS)))
        yield ResultFiles(results, images, category_ids)
        categories = [{'id': key, 'name': name} for key, name in zip(category_ids, classes, strict=True)]
        skipped = [{'file_name': name, 'reason': reason} for name, reason in passed_over]
        rest = {'annotations': [], 'categories': categories, 'passed_over': skipped}
        images.close(f', {json.dumps(rest)[1:]}')
        results.close()


def coco_rows(prediction: Prediction, image_id: int | str, category_ids: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yields COCO results as mmdet's metric writes them: boxes as left, top, width, height; masks as RLE.

    Args:
        prediction: The detections of an image.
        image_id: Id of the image.
        category_ids: Category id of each class.
    """
    scores, labels = prediction.scores.tolist(), prediction.labels.tolist()
    for number, (left, top, right, bottom) in enumerate(prediction.boxes.tolist()):
        row = {
            'image_id': image_id,
            'category_id': category_ids[labels[number]],
            'bbox': [left, top, right - left, bottom - top],
            'score': scores[number],
        }
        if prediction.masks is not None:
            # In Fortran's order. OpenCV transposes several times as fast as np.asfortranarray copies.
            rle = coco_mask.encode(cv2.transpose(prediction.masks[number].view(np.uint8)).T)
            row['segmentation'] = {'size': [int(side) for side in rle['size']], 'counts': rle['counts'].decode()}
        yield row
