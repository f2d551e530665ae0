"""Annotations, results and predictions for tests of AP, and the figures that pycocotools gives when called by hand."""

import copy
import io
import json
from contextlib import redirect_stdout

import numpy as np
import torch
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

NAMES = ('disc', 'box', 'triangle')


def hard_annotations(demo_data):
    """Seven images: crowds as run lengths, one image without objects, one with a crowd alone, a class nobody is of."""
    content = json.loads((demo_data / 'annotations' / 'instances_train.json').read_text())
    content['images'] = content['images'][:7]
    bare, crowded = content['images'][1]['id'], content['images'][2]['id']
    kept = {image['id'] for image in content['images']} - {bare}
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] in kept and a['category_id'] != 3]
    shapes = COCO(str(demo_data / 'annotations' / 'instances_train.json'))
    for number, annotation in enumerate(content['annotations']):
        if number % 5 == 0 or annotation['image_id'] == crowded:
            mask = shapes.annToMask(annotation)
            changes = np.flatnonzero(np.diff(mask.T.reshape(-1))) + 1
            counts = np.diff(np.concatenate([[0] * (1 + mask[0, 0]), changes, [mask.size]])).tolist()
            annotation.update(iscrowd=1, segmentation={'size': list(mask.shape), 'counts': counts})
    assert any(a['iscrowd'] and a['image_id'] != crowded for a in content['annotations'])
    assert any(not a['iscrowd'] for a in content['annotations'])
    return content


def noisy_results(truth, rng, copies=1):
    """Detections near the annotations, some missed, some doubled, some of a wrong class."""
    rows = []
    for annotation in truth.anns.values():
        if rng.random() < 0.2:
            continue
        for _ in range(rng.integers(1, copies + 1)):
            mask = np.roll(truth.annToMask(annotation), rng.integers(-3, 4, 2), (0, 1))
            rle = coco_mask.encode(np.asfortranarray(mask))
            x, y, w, h = annotation['bbox']
            dx, dy = rng.uniform(-3, 3, 2)
            category = annotation['category_id'] if rng.random() < 0.8 else int(rng.integers(1, 4))
            rows.append(
                {
                    'image_id': annotation['image_id'],
                    'category_id': category,
                    'bbox': [x + dx, y + dy, w, h],
                    'segmentation': {'size': rle['size'], 'counts': rle['counts'].decode()},
                    'score': float(rng.random()),
                }
            )
    return rows


def detections(truth, image_id, rng, empty, copies=40):
    """One image's predictions as mmdet's test loop gives them to a metric: each object exactly, then shifted."""
    found = [] if empty else [a for a in truth.imgToAnns[image_id] for _ in range(copies)]
    height, width = truth.imgs[image_id]['height'], truth.imgs[image_id]['width']
    shifts = [rng.integers(-3, 4, 2) * (number % copies > 0) for number in range(len(found))]
    masks = [np.roll(truth.annToMask(a).astype(bool), s, (1, 0)) for a, s in zip(found, shifts, strict=True)]
    xywh = torch.tensor([a['bbox'] for a in found], dtype=torch.float32).reshape(-1, 4)
    corners = xywh[:, :2] + torch.tensor(np.array(shifts).reshape(-1, 2))
    sure = [1 - (number % copies) / copies for number in range(len(found))]
    instances = InstanceData(
        bboxes=torch.cat([corners, corners + xywh[:, 2:]], 1).float(),
        scores=torch.tensor(sure) * (0.5 + torch.tensor(rng.random(len(found))) / 2),
        labels=torch.tensor([a['category_id'] - 1 for a in found], dtype=torch.long),
        masks=torch.tensor(np.array(masks, dtype=bool).reshape(-1, height, width)),
    )
    return dict(pred_instances=instances, img_id=image_id, ori_shape=(height, width))


def pycocotools_stats(path, rows, iou_type):
    """What a user would do by hand; NaN for -1."""
    rows = copy.deepcopy(rows)
    if iou_type == 'segm':
        for row in rows:
            del row['bbox']
    with redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        evaluator = COCOeval(truth, truth.loadRes(rows), iou_type)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return np.where(evaluator.stats == -1, np.nan, evaluator.stats)
