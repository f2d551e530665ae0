"""Panoptic quality (Kirillov et al., arXiv 1801.00868) as COCO's panopticapi computes it, without that package."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from fishnet_mmdet.data.json_files import read_json
from fishnet_mmdet.data.panoptic import segment_ids
from fishnet_mmdet.evaluation.pixel_reports import PQ_GROUPS


@METRICS.register_module()
class PanopticQuality(BaseMetric):
    """PQ, SQ and RQ in percent over all classes, things (`_th`) and stuff (`_st`).

    The keys are those of mmdet's `CocoPanopticMetric`, which needs panopticapi; PyPI does not have that package.

    Args:
        ann_file: COCO's panoptic annotations (JSON).
        seg_prefix: Folder of their PNG maps.
        **kwargs: Arguments of MMEngine's `BaseMetric`.

    Raises:
        FormatError: The annotations cannot be read as JSON.
    """

    default_prefix = 'coco_panoptic'

    def __init__(self, ann_file: str, seg_prefix: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        content = read_json(ann_file)
        self.maps = Path(seg_prefix)
        self.categories = content['categories']
        self.truths = {truth['image_id']: truth for truth in content['annotations']}

    def process(self, data_batch: Mapping, data_samples: Sequence[Mapping]) -> None:
        """Counts the matches of each image; the maps are not kept."""
        labels = {category['id']: label for label, category in enumerate(self._known())}
        for sample in data_samples:
            truth = self.truths[sample['img_id']]
            segments = {
                s['id']: (labels[s['category_id']], bool(s.get('iscrowd')))
                for s in truth['segments_info']
                if s['category_id'] in labels
            }
            colours = mmcv.imread(self.maps / truth['file_name'], flag='color', channel_order='rgb')
            predicted = sample['pred_panoptic_seg']['sem_seg'][0].cpu().numpy()
            self.results.append(count_matches(predicted, segment_ids(colours), segments, len(labels)))

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, float]:
        """Computes means over classes; NaN for a group that never occurs."""
        iou, hits, false, missed = np.sum(results, axis=0).T
        occurs = hits + false + missed > 0
        recognised = hits / np.maximum(hits + (false + missed) / 2, 1e-9)
        segmented = iou / np.maximum(hits, 1)
        is_thing = np.array([bool(category['isthing']) for category in self._known()])
        figures = {}
        for suffix, group in PQ_GROUPS.items():
            chosen = occurs if group == 'all' else occurs & (is_thing == (group == 'things'))
            values = {'PQ': segmented * recognised, 'SQ': segmented, 'RQ': recognised}
            for name, value in values.items():
                figures[name + suffix] = 100 * float(value[chosen].mean()) if chosen.any() else float('nan')
        return figures

    def _known(self) -> list[Mapping]:
        """The categories of the data set, in the order of their labels."""
        return [c for c in self.categories if c['name'] in self.dataset_meta['classes']]


def count_matches(
    predicted: np.ndarray, truth: np.ndarray, segments: Mapping[int, tuple[int, bool]], num_classes: int
) -> np.ndarray:
    """Matches the segments of one image: two match if they have one class and an IoU above 0.5.

    A segment cannot have such an IoU with two others.

    Args:
        predicted: (H, W) label + INSTANCE_OFFSET x instance. Labels from `num_classes` on are no segment.
        truth: (H, W) segment ids; 0 belongs to no segment.
        segments: Label of each id, and whether it is a crowd.
        num_classes: Number of labels.

    Returns:
        (num_classes, 4) sum of the IoUs of matches, and numbers of matches, false segments and missed segments.
    """
    # As in `truth`, 0 becomes no segment.
    predicted = np.where(predicted % INSTANCE_OFFSET < num_classes, predicted + 1, 0)
    pairs, counts = np.unique(np.stack([truth.ravel(), predicted.ravel()]), axis=1, return_counts=True)
    overlap = Counter(dict(zip(map(tuple, pairs.T.tolist()), counts.tolist(), strict=True)))
    area, found_area = Counter(), Counter()
    for (of_truth, found), count in overlap.items():
        area[of_truth] += count
        found_area[found] += count
    labels = {found: (found - 1) % INSTANCE_OFFSET for found in found_area if found}

    result = np.zeros((num_classes, 4))
    matched = set()
    for (of_truth, found), count in overlap.items():
        label, is_crowd = segments.get(of_truth, (None, False))
        if label is None or is_crowd or label != labels.get(found):
            continue
        iou = count / (area[of_truth] + found_area[found] - count - overlap[0, found])
        if iou > 0.5:
            result[label] += (iou, 1, 0, 0)
            matched |= {('truth', of_truth), ('found', found)}
    crowds = {label: of_truth for of_truth, (label, is_crowd) in segments.items() if is_crowd}
    for of_truth, (label, is_crowd) in segments.items():
        result[label, 3] += not is_crowd and ('truth', of_truth) not in matched
    for found, label in labels.items():
        # What lies on no segment, or on a crowd of its class, is not counted as false.
        excused = overlap[0, found] + overlap[crowds.get(label), found]
        result[label, 2] += ('found', found) not in matched and excused <= found_area[found] / 2
    return result
