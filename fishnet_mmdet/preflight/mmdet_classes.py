"""Which data sets and metrics read COCO's formats. All of them are built on mmdet; without mmdet there are none."""

from collections.abc import Mapping
from importlib.util import find_spec

from fishnet_mmdet.base.config_nodes import dataset_class, metric_class

if find_spec('mmdet'):
    from mmdet.datasets import CocoDataset, CocoPanopticDataset, XMLDataset
    from mmdet.evaluation import CocoMetric, CocoPanopticMetric, CocoVideoMetric, LVISMetric

    from fishnet_mmdet.evaluation.metric import OfficialCocoMetric
    from fishnet_mmdet.evaluation.panoptic import PanopticQuality

    DATASETS, PANOPTIC_DATASETS, VOC_DATASETS = (CocoDataset,), (CocoPanopticDataset,), (XMLDataset,)
    PANOPTIC_METRICS, OFFICIAL_METRICS = (CocoPanopticMetric, PanopticQuality), (OfficialCocoMetric,)
    METRICS = (CocoMetric, *PANOPTIC_METRICS)
    # Subclasses of mmdet's COCO metric for other formats.
    OTHER_METRICS = (LVISMetric, CocoVideoMetric)
else:
    DATASETS = PANOPTIC_DATASETS = VOC_DATASETS = ()
    METRICS = PANOPTIC_METRICS = OFFICIAL_METRICS = OTHER_METRICS = ()


def is_coco_dataset(node: Mapping) -> bool:
    """Whether a dataset config is of a class for COCO annotations."""
    return _is_one_of(dataset_class(node), DATASETS)


def reads_coco_as_mmdet(node: Mapping) -> bool:
    """Whether a COCO dataset reads annotations with mmdet's code, and not with its own."""
    return any(dataset_class(node).load_data_list is known.load_data_list for known in DATASETS)


def is_panoptic_dataset(node: Mapping) -> bool:
    """Whether a dataset config is of a class for panoptic annotations."""
    return _is_one_of(dataset_class(node), PANOPTIC_DATASETS)


def is_voc_dataset(node: Mapping) -> bool:
    """Whether a dataset config is of a class for the XML files of Pascal VOC."""
    return _is_one_of(dataset_class(node), VOC_DATASETS)


def is_coco_metric(node: Mapping) -> bool:
    """Whether a metric config is of a class for COCO annotations."""
    kind = metric_class(node)
    return _is_one_of(kind, METRICS) and not _is_one_of(kind, OTHER_METRICS)


def is_panoptic_metric(node: Mapping) -> bool:
    """Whether a metric config is of a class for panoptic annotations."""
    return _is_one_of(metric_class(node), PANOPTIC_METRICS)


def is_official_metric(node: Mapping) -> bool:
    """Whether a metric config is our `OfficialCocoMetric` or derived from it."""
    return _is_one_of(metric_class(node), OFFICIAL_METRICS)


def _is_one_of(kind: object, classes: tuple[type, ...]) -> bool:
    return isinstance(kind, type) and issubclass(kind, classes)
