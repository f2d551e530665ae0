"""The AP table of a detector, with the figures of the paper."""

import re
from collections.abc import Mapping

from mmengine.registry import HOOKS

from fishnet_mmdet.evaluation.published import PUBLISHED_AP, PublishedAP
from fishnet_mmdet.evaluation.results_files import IOU_TYPES
from fishnet_mmdet.evaluation.table import Row, Style, TableReport

LOGGED = {
    'mAP': 'AP', 'mAP_50': 'AP50', 'mAP_75': 'AP75', 'mAP_s': 'AP_S', 'mAP_m': 'AP_M', 'mAP_l': 'AP_L',
}  # fmt: skip
METRIC_KEY = re.compile(rf'(?:.*/)?({"|".join(IOU_TYPES)})_({"|".join(LOGGED)})')
PAPER = 'paper, COCO val2017, not measured here'


@HOOKS.register_module()
class APReport(TableReport):
    """Writes the AP table to `ap_val` and `ap_test`, with the paper's rows for the same detector."""

    name, title = 'ap', 'COCO AP'
    style = Style(columns=tuple(LOGGED.values()), decimals=1)

    def measured(self, metrics: Mapping[str, float], label: str) -> list[Row]:
        """Makes rows of keys such as `coco/bbox_mAP_50`; -1, pycocotools' figure for no objects, becomes None."""
        rows: dict[str, Row] = {}
        for key, value in metrics.items():
            if match := METRIC_KEY.fullmatch(key):
                iou_type, name = match.groups()
                row = rows.setdefault(iou_type, Row(label, iou_type))
                row.figures[LOGGED[name]] = None if value < 0 else float(value)
        return list(rows.values())

    def published(self, model: Mapping) -> list[Row]:
        """Returns the paper's figures for mmdet's 'MaskRCNN' and 'FasterRCNN', labelled as the paper's."""
        return [
            Row(f'{row.backbone} ({PAPER})', iou_type, _fractions(row))
            for iou_type, rows in PUBLISHED_AP.get(model['type'], {}).items()
            for row in rows
        ]


def _fractions(row: PublishedAP) -> dict[str, float | None]:
    percent = {'AP': row.ap, 'AP_S': row.small, 'AP_M': row.medium, 'AP_L': row.large}
    return {name: value / 100 for name, value in percent.items()}
