"""Tables of the pixel-level metrics: mean IoU of semantic, PQ of panoptic segmentation."""

import math
from collections.abc import Mapping

from mmengine.registry import HOOKS

from fishnet_mmdet.evaluation.table import Row, Style, TableReport

GROUPS = {'': None, '_th': True, '_st': False}
"""Endings of the figures, as mmdet names them, and whether their classes are things."""


@HOOKS.register_module()
class MIoUReport(TableReport):
    """The table of mmsegmentation's mean IoU and accuracies, as `miou_val` and `miou_test`."""

    name, title = 'miou', 'Mean IoU'
    style = Style(columns=('mIoU', 'mAcc', 'aAcc'), decimals=2)

    def measured(self, metrics: Mapping[str, float], label: str) -> list[Row]:
        """A row from keys such as `mIoU`, which are percent."""
        figures = {key.split('/')[-1]: float(value) / 100 for key, value in metrics.items()}
        found = {name: figures[name] for name in self.style.columns if name in figures}
        return [Row(label, '', found)] if found else []

    def published(self, model: Mapping) -> list[Row]:
        """None: the paper has no semantic segmentation."""
        return []


@HOOKS.register_module()
class PQReport(TableReport):
    """The table of panoptic quality, as `pq_val` and `pq_test`: all classes, things, stuff."""

    name, title = 'pq', 'Panoptic quality'
    style = Style(columns=('PQ', 'SQ', 'RQ'), decimals=1)

    def measured(self, metrics: Mapping[str, float], label: str) -> list[Row]:
        """Rows from keys such as `coco_panoptic/PQ_th`, which are percent; NaN becomes None."""
        figures = {key.split('/')[-1]: float(value) / 100 for key, value in metrics.items()}
        rows = []
        for ending, kind in zip(GROUPS, ('all', 'things', 'stuff'), strict=True):
            names = {c: figures[c + ending] for c in self.style.columns if c + ending in figures}
            if names:
                rows.append(Row(label, kind, {c: None if math.isnan(v) else v for c, v in names.items()}))
        return rows

    def published(self, model: Mapping) -> list[Row]:
        """None: the paper has no panoptic segmentation."""
        return []
