"""A seeded detector of the demo's config, with images that it finds objects on, for the tests of inference."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from pycocotools import mask as coco_mask
from seeded_models import build

CONFIG = 'mask_rcnn_fishnet_demo'
CLASSES = ('Scheibe', 'Kasten', 'Dreieck')
"""Class names in the checkpoint, which are not those of the config."""


def write_checkpoint(path, **meta):
    """Weights of the seeded detector in a checkpoint with these notes."""
    torch.save({'state_dict': build(CONFIG).state_dict(), 'meta': meta}, path)
    return path


def picture(seed=0, height=96, width=120):
    """A smooth picture of noise, (height, width, 3), uint8."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def save(path, seed=0):
    """Writes a picture to a file, whose folder is created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture(seed))
    return path


def write_video(path, frames, fps=5.0, code='mp4v'):
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), fps, (width, height))
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def frames_of(path):
    """The frames of a video, and its frames a second."""
    video, frames = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        frames.append(read[1])
    return SimpleNamespace(frames=frames, fps=video.get(cv2.CAP_PROP_FPS))


def annotate(predictor, files, path, categories=((5, 'disc'), (9, 'box'), (11, 'triangle'))):
    """Writes an annotation file of pictures: every second object that the predictor finds, so that AP is not zero.

    Ids are neither consecutive nor sorted like the files.
    """
    images, annotations = [], []
    for number, file in enumerate(files):
        found = predictor.predict(file)
        key = 70 - 3 * number
        images.append(dict(id=key, file_name=file.name, width=found.width, height=found.height))
        for index in range(0, min(len(found), 12), 2):
            mask = found.masks[index]
            if not mask.any():
                continue
            rle = coco_mask.encode(np.asfortranarray(mask.view(np.uint8)))
            left, top, right, bottom = map(float, found.boxes[index])
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=key,
                    category_id=categories[found.labels[index]][0],
                    bbox=[left, top, right - left, bottom - top],
                    area=float(mask.sum()),
                    iscrowd=0,
                    segmentation=dict(size=rle['size'], counts=rle['counts'].decode()),
                )
            )
    names = [dict(id=key, name=name) for key, name in categories]
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=names)))
    return path


def same(ours, theirs):
    """Whether two predictions are equal."""
    pairs = [(getattr(ours, name), getattr(theirs, name)) for name in ('boxes', 'scores', 'labels', 'masks')]
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs) and ours.names == theirs.names
