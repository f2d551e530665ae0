"""One rank of an evaluation through MMEngine: `two_rank_metric.py ANNOTATIONS OUT_PREFIX`. Not a test by itself."""

import json
import sys
from pathlib import Path

import numpy as np
import torch.distributed
from ap_case import NAMES, detections
from mmengine.dataset import DefaultSampler

from fishnet_mmdet.evaluation.coco_eval import load_annotations
from fishnet_mmdet.evaluation.metric import OfficialCocoMetric

if __name__ == '__main__':
    annotations, prefix = sys.argv[1:]
    torch.distributed.init_process_group('gloo')
    truth = load_annotations(annotations)
    images = list(truth.imgs)
    metric = OfficialCocoMetric(ann_file=annotations, metric=['bbox', 'segm'], outfile_prefix=prefix)
    metric.dataset_meta = dict(classes=NAMES)
    for index in DefaultSampler(images, shuffle=False):
        # An image has the same detections on any rank.
        metric.process({}, [detections(truth, images[index], np.random.default_rng(index), empty=index == 3)])
    figures = metric.evaluate(len(images))
    Path(f'{prefix}.rank{torch.distributed.get_rank()}.json').write_text(json.dumps(figures))
    torch.distributed.destroy_process_group()
