"""Which figures the evaluators of a config give, by the keys of MMEngine's logs and `save_best`."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mmengine.config import Config

from fishnet_mmdet.base.config_nodes import name_of
from fishnet_mmdet.evaluation.coco_names import CLASS_FIGURES, MMDET_NAMES

PROPOSALS = ('AR@100', 'AR@300', 'AR@1000', 'AR_s@1000', 'AR_m@1000', 'AR_l@1000')
PANOPTIC = tuple(f'{figure}{group}' for group in ('', '_th', '_st') for figure in ('PQ', 'SQ', 'RQ'))
IOU = {'mIoU': ('mIoU', 'mAcc'), 'mDice': ('mDice', 'mAcc'), 'mFscore': ('mFscore', 'mPrecision', 'mRecall')}

PREFIXES = {
    'OfficialCocoMetric': 'coco', 'CocoMetric': 'coco', 'CocoPanopticMetric': 'coco_panoptic',
    'PanopticQuality': 'coco_panoptic', 'VOCMetric': 'pascal_voc', 'Accuracy': 'accuracy', 'IoUMetric': '',
    'DumpResults': '', 'DumpDetResults': '',
}  # fmt: skip
"""The prefix of each metric that is known here."""


@dataclass(frozen=True)
class Figures:
    """The figures of all evaluators of a split.

    Attributes:
        keys: The keys, in order. A key that occurs twice is an error of MMEngine.
        by_class: Whether there are figures of single classes too, whose keys end in `_precision`.
        complete: Whether every metric is known. If not, there may be others.
    """

    keys: tuple[str, ...]
    by_class: bool
    complete: bool

    def lack(self, key: str) -> bool:
        """Returns whether a key is certainly not among the figures."""
        return self.complete and key not in self.keys and not (self.by_class and key.endswith('_precision'))

    def twice(self) -> list[str]:
        """Returns the keys that occur more than once."""
        return [key for key, count in Counter(self.keys).items() if count > 1]


def figures_of(cfg: Config, split: str) -> Figures:
    """Lists the figures of a split.

    Args:
        cfg: A whole config.
        split: 'val' or 'test'.
    """
    keys, by_class, complete = [], False, True
    for prefix, node in _metrics(cfg.get(f'{split}_evaluator')):
        names = _names(node) if isinstance(node, Mapping) else None
        if names is None:
            complete = False
            continue
        own = node.get('prefix') or PREFIXES[name_of(node)]
        keys += ['/'.join(filter(None, (prefix, own, name))) for name in names]
        by_class |= bool(node.get('classwise'))
    if name_of(cfg.get(f'{split}_cfg') or {}) == 'TeacherStudentValLoop':
        keys = [f'{model}/{key}' for model in ('teacher', 'student') for key in keys]
    return Figures(tuple(keys), by_class, complete)


def _metrics(evaluator: object) -> Iterator[tuple[str, object]]:
    """Yields the metrics of an evaluator, each with the prefix that the evaluator gives it."""
    if isinstance(evaluator, Mapping) and 'metrics' in evaluator:
        metrics = evaluator['metrics']
        metrics = metrics if isinstance(metrics, list | tuple) else [metrics]
        if name_of(evaluator) == 'MultiDatasetsEvaluator':
            yield from zip(evaluator.get('dataset_prefixes', ()), metrics, strict=False)
        else:
            # An evaluator of another class may name its figures otherwise.
            yield from (('', metric if name_of(evaluator) == 'Evaluator' else None) for metric in metrics)
    else:
        yield from (('', metric) for metric in (evaluator if isinstance(evaluator, list | tuple) else [evaluator]))


def _names(node: Mapping) -> list[str] | None:
    """The names of a metric's figures, without prefix; None if they are not known."""
    kind = name_of(node)
    if kind in ('DumpResults', 'DumpDetResults') or (kind in PREFIXES and node.get('format_only')):
        return []
    metrics = node.get('metric') or 'bbox'
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    if kind == 'OfficialCocoMetric':
        return [f'{metric}_{name}' for metric in metrics for name in MMDET_NAMES.values()]
    if kind == 'CocoMetric':
        return [name for metric in metrics for name in _stock_names(node, metric)]
    if kind in ('CocoPanopticMetric', 'PanopticQuality'):
        return list(PANOPTIC)
    if kind == 'VOCMetric' and node.get('metric', 'mAP') == 'mAP':
        thresholds = node.get('iou_thrs', 0.5)
        thresholds = thresholds if isinstance(thresholds, list | tuple) else [thresholds]
        return ['mAP', *(f'AP{int(threshold * 100):02d}' for threshold in thresholds)]
    if kind == 'Accuracy' and not isinstance(node.get('thrs', 0.0), list | tuple):
        top = node.get('topk', 1)
        return [f'top{k}' for k in (top if isinstance(top, list | tuple) else [top])]
    if kind == 'IoUMetric':
        wanted = node.get('iou_metrics') or ['mIoU']
        return list(dict.fromkeys(['aAcc', *(name for metric in wanted for name in IOU.get(metric, ()))]))
    return None


def _stock_names(node: Mapping, metric: str) -> list[str]:
    """What MMDetection's CocoMetric gives for one of its metrics."""
    items = node.get('metric_items')
    if metric == 'proposal_fast':
        return [f'AR@{number}' for number in node.get('proposal_nums', (100, 300, 1000))]
    if metric == 'proposal':
        return list(items or PROPOSALS)
    return [f'{metric}_{name}' for name in items or [MMDET_NAMES[figure] for figure in CLASS_FIGURES]]
