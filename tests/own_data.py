"""Small data sets in the forms that people have them in, drawn for tests of `fishnet-mmdet new`."""

import json
from pathlib import Path

import cv2
import numpy as np


def write_image(path, size=(96, 64), seed=0):
    """A picture with a bright square; `size` is width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 90, (size[1], size[0], 3), np.uint8)
    image[10:34, 10:40] = 220
    # cv2.imwrite cannot encode every file name on every system.
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())


def coco(names, classes=('disc', 'box'), masks='polygon', size=(96, 64), box=(10, 10, 30, 24)):
    """The content of a COCO file with one object on each image, of each class in turn.

    Args:
        names: File names of the images.
        classes: Names of the categories; their ids start at 1.
        masks: 'polygon', 'rectangle' (the box as a polygon, as some tools write it) or 'none'.
        size: Width and height of each image.
        box: x, y, width, height of each object.
    """
    x, y, width, height = box
    outline = {
        'polygon': [[x, y, x + width, y, x + width / 2, y + height]],
        'rectangle': [[x, y, x + width, y, x + width, y + height, x, y + height]],
        'none': [],
    }[masks]
    common = dict(bbox=list(box), area=width * height / 2, iscrowd=0, segmentation=outline)
    return dict(
        images=[dict(id=i, file_name=name, width=size[0], height=size[1]) for i, name in enumerate(names, 1)],
        categories=[dict(id=i, name=name) for i, name in enumerate(classes, 1)],
        annotations=[
            dict(id=i, image_id=i, category_id=(i - 1) % len(classes) + 1, **common) for i in range(1, len(names) + 1)
        ],
    )


def write_coco(file, images, content, size=(96, 64)):
    """Writes a COCO file, and its images below a folder."""
    for number, image in enumerate(content['images']):
        write_image(Path(images) / image['file_name'], size, number)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, ensure_ascii=False), encoding='utf-8')


def write_yolo(root, label='0 0.3 0.35 0.3 0.4\n'):
    """A data set as YOLO keeps it."""
    for split, count in (('train', 3), ('val', 2)):
        for number in range(count):
            write_image(root / f'images/{split}/{split}{number}.jpg', seed=number)
            labels = root / f'labels/{split}/{split}{number}.txt'
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_text(label)
    (root / 'data.yaml').write_text('path: .\ntrain: images/train\nval: images/val\nnames: [disc, box]\n')


def write_voc(root, difficult=(), classes=('disc', 'box'), ending='.jpg'):
    """A data set as Pascal VOC keeps it, without a split: five images with an object of each class in turn.

    Args:
        root: Folder to write to.
        difficult: Images by number whose object is marked difficult.
        classes: Names of the classes.
        ending: Ending of the images.
    """
    for number in range(5):
        write_image(root / f'JPEGImages/{number}{ending}', seed=number)
        xml = root / f'Annotations/{number}.xml'
        xml.parent.mkdir(parents=True, exist_ok=True)
        box = '<bndbox><xmin>11</xmin><ymin>11</ymin><xmax>40</xmax><ymax>34</ymax></bndbox>'
        name, mark = classes[number % len(classes)], int(number in difficult)
        xml.write_text(
            f'<annotation><filename>{number}{ending}</filename><size><width>96</width><height>64</height><depth>3</depth>'
            f'</size><object><name>{name}</name><difficult>{mark}</difficult>{box}</object></annotation>'
        )
