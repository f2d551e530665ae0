"""AP of each class after a validation or test whose metric has `classwise=True`: a table and a bar plot."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.dist import master_only
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.base.tables import Table
from fishnet_mmdet.evaluation.class_plot import draw_classes
from fishnet_mmdet.evaluation.class_rows import ClassRow, best_first, class_figures, class_table, count_objects
from fishnet_mmdet.evaluation.known_data import parts_of
from fishnet_mmdet.evaluation.table import evaluator_names


@HOOKS.register_module()
class ClassAPReport(Hook):
    """Prints the AP of each class, best first, and writes it to the work dir.

    `ap_by_class_val.md`, `.json` and `.png` (or `_test`) are those of the newest validation or test. Where an evaluator
    gives figures of several data sets or models, each has a table and a picture of its own. Without figures of classes,
    the hook does nothing.
    """

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Reports a validation."""
        self._report(runner, metrics or {}, 'val')

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Reports a test."""
        self._report(runner, metrics or {}, 'test')

    @master_only
    def _report(self, runner: Runner, metrics: Mapping[str, float], split: str) -> None:
        found = class_figures(metrics)
        if not found:
            return
        names = evaluator_names([prefix.rstrip('/') for prefix in found], default='coco')
        data = getattr(runner, f'{split}_dataloader').dataset
        evaluator = getattr(runner, f'{split}_evaluator')
        tables = []
        for prefix, classes in found.items():
            objects = _objects_of(prefix, data, evaluator)
            rows = best_first(ClassRow(name, objects.get(name, 0), figures) for name, figures in classes.items())
            name = names[prefix.rstrip('/')]
            title = ', '.join(filter(None, ['AP by class, percent', runner.experiment_name, name]))
            draw_classes(rows, title, Path(runner.work_dir) / f'{_stem(split, name)}.png')
            tables.append(class_table(rows, title))
            runner.logger.info('\n' + tables[-1].text())
        _write(tables, Path(runner.work_dir) / _stem(split))


def _objects_of(prefix: str, data: object, evaluator: Evaluator) -> Mapping[str, int]:
    """The number of objects of each class in the data that the figures of a prefix are of."""
    parts, metrics = list(parts_of(data)), list(evaluator.metrics)
    # mmdet's MultiDatasetsEvaluator has a prefix and a metric for each data set.
    fitting = [
        (len(name), number)
        for number, name in enumerate(getattr(evaluator, 'dataset_prefixes', ()))
        if prefix.startswith(f'{name}/')
    ]
    if fitting:
        _, number = max(fitting)
        parts, metrics = [parts[number]], [metrics[number]]
    # Our metric counts what it evaluates; data sets of mmdet leave out objects that are smaller than a pixel.
    counted = [metric.objects for metric in metrics if f'/{prefix}'.endswith(f'/{metric.prefix}/') and _counts(metric)]
    return counted[0] if counted else count_objects(parts)


def _counts(metric: BaseMetric) -> bool:
    return bool(getattr(metric, 'objects', None))


def _stem(split: str, name: str = '') -> str:
    return '_'.join(filter(None, ['ap_by_class', split, re.sub(r'\W+', '_', name)]))


def _write(tables: Sequence[Table], stem: Path) -> None:
    write_atomically(stem.with_suffix('.md'), '\n'.join(table.markdown() for table in tables).encode())
    content = [json.loads(table.json()) for table in tables]
    write_atomically(stem.with_suffix('.json'), (json.dumps(content, indent=1) + '\n').encode())
