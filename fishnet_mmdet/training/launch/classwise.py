"""What the flag --classwise changes in a config."""

from collections.abc import Mapping

from mmengine.config import Config, ConfigDict

from fishnet_mmdet.base.config_nodes import mappings, metric_class, name_of
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.training.launch.config import is_classifier, is_segmentor


def switch_on_classwise(cfg: Config) -> None:
    """Makes the test evaluators give the AP of each class, and adds the report of it.

    Args:
        cfg: The config; changed in place.

    Raises:
        ConfigError: No evaluator gives the AP of classes.
    """
    evaluators = [node for node in mappings(cfg.get('test_evaluator', {})) if 'type' in node]
    metrics = [] if is_classifier(cfg) or is_segmentor(cfg) else [node for node in evaluators if _is_coco_metric(node)]
    if not metrics:
        types = ', '.join(name_of(node) for node in evaluators) or 'none'
        raise ConfigError(
            '--classwise: test_evaluator must hold OfficialCocoMetric, or CocoMetric or another metric of mmdet that '
            f'is derived from it; the evaluators of this config are: {types}'
        )
    for node in metrics:
        node['classwise'] = True
    cfg.setdefault('default_hooks', ConfigDict())['class_ap'] = dict(type='ClassAPReport')


def _is_coco_metric(node: Mapping) -> bool:
    from mmdet.evaluation import CocoMetric

    kind = metric_class(node)
    return isinstance(kind, type) and issubclass(kind, CocoMetric)
