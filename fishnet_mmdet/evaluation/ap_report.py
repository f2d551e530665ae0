"""The AP table of a detector, with the figures of the paper."""

import re
from collections.abc import Mapping

from mmengine.registry import HOOKS

from fishnet_mmdet.base.config_nodes import name_of
from fishnet_mmdet.evaluation.class_rows import or_none
from fishnet_mmdet.evaluation.coco_names import CLASS_FIGURES, MMDET_NAMES
from fishnet_mmdet.evaluation.known_data import COCO_VAL2017, is_coco_val2017
from fishnet_mmdet.evaluation.published import PUBLISHED_AP, PublishedAP
from fishnet_mmdet.evaluation.results_files import IOU_TYPES
from fishnet_mmdet.evaluation.table import Row, TableReport, by_evaluator, kind_of

LOGGED = {MMDET_NAMES[name]: name for name in CLASS_FIGURES} | {
    'AP': 'AP', 'AP50': 'AP50', 'AP75': 'AP75', 'APs': 'AP_S', 'APm': 'AP_M', 'APl': 'AP_L',
}  # fmt: skip
"""Figures by the last part of their keys: CocoMetric's, then LVISMetric's."""

METRIC_KEY = re.compile(rf'({"|".join(IOU_TYPES)})_({"|".join(LOGGED)})')
PAPER = f'paper, {COCO_VAL2017}, not measured here'


@HOOKS.register_module()
class APReport(TableReport):
    """Writes the AP table to `ap_val` and `ap_test`; on COCO val2017, with the paper's rows for the same detector."""

    name, title, data = 'ap', 'COCO AP', COCO_VAL2017
    columns, decimals = CLASS_FIGURES, 1

    def measured(self, metrics: Mapping[str, float], label: str) -> list[Row]:
        """Makes rows of keys such as `coco/bbox_mAP_50`; NaN and pycocotools' -1, for no objects, become None."""
        rows: dict[tuple, Row] = {}
        for name, figures in by_evaluator(metrics, METRIC_KEY, default='coco').items():
            for match, value in figures:
                iou_type, figure = match.groups()
                row = rows.setdefault((name, iou_type), Row(label, kind_of(iou_type, name)))
                row.figures[LOGGED[figure]] = or_none(value)
        return list(rows.values())

    def published(self, model: Mapping) -> list[Row]:
        """Returns the paper's figures for mmdet's 'MaskRCNN' and 'FasterRCNN', labelled as the paper's."""
        return [
            Row(f'{row.backbone} ({PAPER})', iou_type, _fractions(row))
            for iou_type, rows in PUBLISHED_AP.get(name_of(model), {}).items()
            for row in rows
        ]

    def is_published_data(self, data: object) -> bool:
        """Returns whether a data set is COCO val2017."""
        return is_coco_val2017(data)


def _fractions(row: PublishedAP) -> dict[str, float | None]:
    percent = {'AP': row.ap, 'AP_S': row.small, 'AP_M': row.medium, 'AP_L': row.large}
    return {name: value / 100 for name, value in percent.items()}
