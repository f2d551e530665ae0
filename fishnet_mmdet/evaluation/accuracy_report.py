"""The accuracy table of a classifier, with published accuracies."""

import re
from collections.abc import Mapping

from mmengine.registry import HOOKS

from fishnet_mmdet.base.config_nodes import name_of
from fishnet_mmdet.evaluation.known_data import IMAGENET_VAL, is_imagenet_val
from fishnet_mmdet.evaluation.table import Row, TableReport, by_evaluator
from fishnet_mmdet.weights.catalogue import CATALOGUE

METRIC_KEY = re.compile(r'top([15])')
PUBLISHED = f'published, {IMAGENET_VAL}, not measured here'


@HOOKS.register_module()
class AccuracyReport(TableReport):
    """Writes the table of top-1 and top-5 accuracy to `accuracy_val` and `accuracy_test`.

    On ImageNet val, those of the released weights stand below the measured rows.
    """

    name, title, data = 'accuracy', 'Accuracy', IMAGENET_VAL
    columns, decimals = ('top-1', 'top-5'), 2

    def measured(self, metrics: Mapping[str, float], label: str) -> list[Row]:
        """Makes rows of mmpretrain's `accuracy/top1` and `accuracy/top5`, which are percentages."""
        return [
            Row(label, name, {f'top-{match[1]}': value / 100 for match, value in figures})
            for name, figures in by_evaluator(metrics, METRIC_KEY, default='accuracy').items()
        ]

    def published(self, model: Mapping) -> list[Row]:
        """Returns rows of the released weights of the same architecture, with their published accuracy."""
        backbone = model.get('backbone') or {}
        if name_of(backbone) != 'FishNet':
            return []
        arch = backbone.get('arch', 'fishnet150')
        return [
            Row(
                f'{name} ({PUBLISHED})',
                weights.schedule,
                {'top-1': None if weights.top1 is None else weights.top1 / 100, 'top-5': weights.top5 / 100},
            )
            for name, weights in CATALOGUE.items()
            if weights.arch == arch
        ]

    def is_published_data(self, data: object) -> bool:
        """Returns whether a data set is ImageNet val."""
        return is_imagenet_val(data)
