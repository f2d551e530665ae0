"""The AP table after every validation and test: on screen, as Markdown and as JSON in the work dir."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from rich.console import Console
from rich.table import Table

from fishnet_mmdet.report.coco_eval import IOU_TYPES
from fishnet_mmdet.report.published import PUBLISHED_AP, PublishedAP

COLUMNS = ('AP', 'AP50', 'AP75', 'AP_S', 'AP_M', 'AP_L')
LOGGED = {
    'mAP': 'AP', 'mAP_50': 'AP50', 'mAP_75': 'AP75', 'mAP_s': 'AP_S', 'mAP_m': 'AP_M', 'mAP_l': 'AP_L',
}  # fmt: skip
METRIC_KEY = re.compile(rf'(?:.*/)?({"|".join(IOU_TYPES)})_({"|".join(LOGGED)})')
PAPER = 'paper, COCO val2017, not measured here'


@dataclass
class APRow:
    """One line of the table; `figures` are fractions of 1, None where there is none."""

    label: str
    iou_type: str
    figures: dict[str, float | None] = field(default_factory=dict)

    def cells(self) -> list[str]:
        """Percent with one decimal, as the paper prints it."""
        values = (self.figures.get(column) for column in COLUMNS)
        return [self.label, self.iou_type, *('-' if v is None else f'{100 * v:.1f}' for v in values)]


def rows_from_metrics(metrics: Mapping[str, float], label: str) -> list[APRow]:
    """Rows from an evaluator's output, such as `{'coco/bbox_mAP_50': 0.61}`; other keys are passed over.

    pycocotools' -1, for a size of which there is no object, becomes None.
    """
    rows: dict[str, APRow] = {}
    for key, value in metrics.items():
        if match := METRIC_KEY.fullmatch(key):
            iou_type, name = match.groups()
            row = rows.setdefault(iou_type, APRow(label, iou_type))
            row.figures[LOGGED[name]] = None if value < 0 else float(value)
    return list(rows.values())


def paper_rows(detector: str) -> list[APRow]:
    """The paper's figures for a detector of mmdet ('MaskRCNN', 'FasterRCNN'), labelled as the paper's."""
    return [
        APRow(f'{row.backbone} ({PAPER})', iou_type, _fractions(row))
        for iou_type, rows in PUBLISHED_AP.get(detector, {}).items()
        for row in rows
    ]


def _fractions(row: PublishedAP) -> dict[str, float | None]:
    percent = {'AP': row.ap, 'AP_S': row.small, 'AP_M': row.medium, 'AP_L': row.large}
    return {name: value / 100 for name, value in percent.items()}


def screen_table(own: Iterable[APRow], paper: Iterable[APRow], title: str) -> str:
    """The table as text, the paper's rows under a line of their own."""
    table = Table('', 'type', title=title, title_justify='left')
    for column in COLUMNS:
        table.add_column(column, justify='right')
    for row in own:
        table.add_row(*row.cells())
    table.add_section()
    for row in paper:
        table.add_row(*row.cells())
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def markdown_table(rows: Iterable[APRow], title: str) -> str:
    """The table as Markdown."""
    head = ['', 'type', *COLUMNS]
    align = ['---', '---', *('---:' for _ in COLUMNS)]
    lines = [f'# {title}', '', *(f'| {" | ".join(cells)} |' for cells in (head, align))]
    lines += (f'| {" | ".join(row.cells())} |' for row in rows)
    return '\n'.join(lines) + '\n'


@HOOKS.register_module()
class APReport(Hook):
    """Prints the AP table and keeps it in the work dir.

    After each validation `ap_val.md` and `ap_val.json` hold all epochs so far (a resumed run goes on with them); a test
    writes `ap_test.md` and `ap_test.json`. Under the own rows stand the paper's for the same detector.
    """

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Reports an epoch of training."""
        self._report(runner, metrics or {}, 'val', epoch=runner.epoch)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Reports a test."""
        self._report(runner, metrics or {}, 'test', epoch=None)

    @master_only
    def _report(self, runner: Runner, metrics: Mapping[str, float], split: str, epoch: int | None) -> None:
        label = 'this model' if epoch is None else f'epoch {epoch}'
        rows = rows_from_metrics(metrics, label)
        if not rows:
            return
        title = f'COCO AP, {runner.experiment_name}'
        model = runner.cfg.model
        paper = paper_rows(model.get('module', model).type)  # test-time augmentation wraps the detector
        runner.logger.info('\n' + screen_table(rows, paper, title))

        stem = Path(runner.work_dir) / f'ap_{split}'
        history = _read_history(stem.with_suffix('.json')) if epoch is not None else []
        history = [entry for entry in history if entry['label'] != label]
        history += [{'label': row.label, 'type': row.iou_type, **row.figures} for row in rows]
        own = [APRow(entry['label'], entry['type'], {c: entry.get(c) for c in COLUMNS}) for entry in history]
        published = [{'label': row.label, 'type': row.iou_type, **row.figures} for row in paper]
        record = {'title': title, 'measured': history, 'published': published}
        stem.with_suffix('.json').write_text(json.dumps(record, indent=1) + '\n')
        stem.with_suffix('.md').write_text(markdown_table([*own, *paper], title))


def _read_history(path: Path) -> list[dict]:
    """Rows of earlier epochs; a file cut short by a crash is started anew rather than stopping a run."""
    try:
        return list(json.loads(path.read_text())['measured'])
    except (OSError, ValueError, KeyError):
        return []
