"""Tables of mean IoU for semantic segmentation and of PQ for panoptic segmentation; neither has published rows."""

import math
import re
from collections.abc import Mapping

from mmengine.registry import HOOKS

from fishnet_mmdet.evaluation.table import Row, TableReport, by_evaluator, kind_of

PQ_GROUPS = {'': 'all', '_th': 'things', '_st': 'stuff'}
"""Groups of classes by the suffix of their figures, as in mmdet."""


@HOOKS.register_module()
class MIoUReport(TableReport):
    """Writes the table of mmsegmentation's mean IoU and accuracies to `miou_val` and `miou_test`."""

    name, title = 'miou', 'Mean IoU'
    columns, decimals = ('mIoU', 'mAcc', 'aAcc'), 2

    def measured(self, metrics: Mapping[str, float], label: str) -> list[Row]:
        """Makes rows of keys such as `mIoU`, which are percentages; NaN becomes None."""
        return [
            Row(label, name, {match[0]: _fraction(value) for match, value in figures})
            for name, figures in by_evaluator(metrics, re.compile('|'.join(self.columns))).items()
        ]


@HOOKS.register_module()
class PQReport(TableReport):
    """Writes the table of panoptic quality (all classes, things, stuff) to `pq_val` and `pq_test`."""

    name, title = 'pq', 'Panoptic quality'
    columns, decimals = ('PQ', 'SQ', 'RQ'), 1

    def measured(self, metrics: Mapping[str, float], label: str) -> list[Row]:
        """Makes rows of keys such as `coco_panoptic/PQ_th`, which are percentages; NaN becomes None."""
        rows = []
        pattern = re.compile(f'({"|".join(self.columns)})(|_th|_st)')
        for name, figures in by_evaluator(metrics, pattern, default='coco_panoptic').items():
            groups: dict[str, dict[str, float | None]] = {suffix: {} for suffix in PQ_GROUPS}
            for match, value in figures:
                groups[match[2]][match[1]] = _fraction(value)
            rows += [Row(label, kind_of(PQ_GROUPS[suffix], name), found) for suffix, found in groups.items() if found]
        return rows


def _fraction(percent: float) -> float | None:
    return None if math.isnan(percent) else percent / 100
