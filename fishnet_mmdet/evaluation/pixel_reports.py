"""Tables of mean IoU for semantic segmentation and of PQ for panoptic segmentation."""

import math
from collections.abc import Mapping

from mmengine.registry import HOOKS

from fishnet_mmdet.evaluation.table import Row, Style, TableReport

PQ_GROUPS = {'': 'all', '_th': 'things', '_st': 'stuff'}
"""Groups of classes by the suffix of their figures, as in mmdet."""


@HOOKS.register_module()
class MIoUReport(TableReport):
    """Writes the table of mmsegmentation's mean IoU and accuracies to `miou_val` and `miou_test`."""

    name, title = 'miou', 'Mean IoU'
    style = Style(columns=('mIoU', 'mAcc', 'aAcc'), decimals=2)

    def measured(self, metrics: Mapping[str, float], label: str) -> list[Row]:
        """Makes a row of keys such as `mIoU`, which are percentages."""
        figures = {key.split('/')[-1]: float(value) / 100 for key, value in metrics.items()}
        found = {name: figures[name] for name in self.style.columns if name in figures}
        return [Row(label, '', found)] if found else []

    def published(self, model: Mapping) -> list[Row]:
        """Returns no rows: the paper has no semantic segmentation."""
        return []


@HOOKS.register_module()
class PQReport(TableReport):
    """Writes the table of panoptic quality (all classes, things, stuff) to `pq_val` and `pq_test`."""

    name, title = 'pq', 'Panoptic quality'
    style = Style(columns=('PQ', 'SQ', 'RQ'), decimals=1)

    def measured(self, metrics: Mapping[str, float], label: str) -> list[Row]:
        """Makes rows of keys such as `coco_panoptic/PQ_th`, which are percentages; NaN becomes None."""
        figures = {key.split('/')[-1]: float(value) / 100 for key, value in metrics.items()}
        rows = []
        for suffix, group in PQ_GROUPS.items():
            names = {c: figures[c + suffix] for c in self.style.columns if c + suffix in figures}
            if names:
                rows.append(Row(label, group, {c: None if math.isnan(v) else v for c, v in names.items()}))
        return rows

    def published(self, model: Mapping) -> list[Row]:
        """Returns no rows: the paper has no panoptic segmentation."""
        return []
