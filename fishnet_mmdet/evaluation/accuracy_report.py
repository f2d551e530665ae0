"""The accuracy table of a classifier, with published accuracies."""

import re
from collections.abc import Mapping

from mmengine.registry import HOOKS

from fishnet_mmdet.evaluation.table import Row, Style, TableReport
from fishnet_mmdet.weights.catalogue import CATALOGUE

METRIC_KEY = re.compile(r'(?:.*/)?top([15])')
PUBLISHED = 'published, ImageNet val, not measured here'
IMAGENET_CLASSES = 1000


@HOOKS.register_module()
class AccuracyReport(TableReport):
    """Writes the table of top-1 and top-5 accuracy to `accuracy_val` and `accuracy_test`.

    Below the measured rows are those of the released weights, for classifiers of ImageNet's 1000 classes only.
    """

    name, title = 'accuracy', 'Accuracy'
    style = Style(columns=('top-1', 'top-5'), decimals=2)

    def measured(self, metrics: Mapping[str, float], label: str) -> list[Row]:
        """Makes a row of mmpretrain's `accuracy/top1` and `accuracy/top5`, which are percentages."""
        found = {match[1]: value for key, value in metrics.items() if (match := METRIC_KEY.fullmatch(key))}
        return [Row(label, '', {f'top-{k}': value / 100 for k, value in found.items()})] if found else []

    def published(self, model: Mapping) -> list[Row]:
        """Returns rows of the released weights of the same architecture, with their published accuracy."""
        if model.get('head', {}).get('num_classes') != IMAGENET_CLASSES:
            return []
        arch = model['backbone'].get('arch', 'fishnet150')
        return [
            Row(
                f'{name} ({PUBLISHED})',
                weights.schedule,
                {'top-1': None if weights.top1 is None else weights.top1 / 100, 'top-5': weights.top5 / 100},
            )
            for name, weights in CATALOGUE.items()
            if weights.arch == arch
        ]
