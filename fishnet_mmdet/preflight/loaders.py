"""What a config says of its COCO data sets, and of the evaluators that go with them; nothing is opened here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmdet.datasets import CocoDataset, CocoPanopticDataset
from mmdet.evaluation import CocoMetric, CocoPanopticMetric, CocoVideoMetric, LVISMetric
from mmengine.config import Config

from fishnet_mmdet.evaluation.metric import OfficialCocoMetric
from fishnet_mmdet.evaluation.panoptic import PanopticQuality
from fishnet_mmdet.preflight.findings import Finding, Report
from fishnet_mmdet.preflight.folders import CLASS_FOLDERS
from fishnet_mmdet.preflight.nodes import class_names, dataset_class, mappings, metric_class, name_of

PANOPTIC_METRICS = (CocoPanopticMetric, PanopticQuality)
COCO_METRICS = (CocoMetric, *PANOPTIC_METRICS)
FOREIGN_METRICS = (LVISMetric, CocoVideoMetric)
"""Built on mmdet's COCO metric, for formats that are not COCO's."""


@dataclass
class Loader:
    """What a config says of one COCO data set in a loader.

    Attributes:
        nodes: Its places in the config.
        splits: The loaders it is in: validation and test are often the same.
        root: The data root, if there is one.
        file: The annotation file, links followed.
        folder: Of the images.
        maps: Of the panoptic maps, where there are any.
        panoptic: Whether the file has COCO's panoptic layout.
        classes: Names in the order of their labels.
        masks: Whether the pipeline reads masks.
        polygons_alone: Whether it takes objects out whose mask is an RLE.
        labelled: Whether it reads annotations at all; of semi-supervised data a part does not.
        turns: Whether the pipeline turns images by their EXIF tag, as mmcv does unless told otherwise.
        filtering: The `filter_cfg` that applies.
        indices: How many images are taken, from the front or (negative) the back, or which; None for all.
    """

    nodes: list[Mapping]
    splits: list[str]
    root: Path | None
    file: Path
    folder: Path
    maps: Path | None
    panoptic: bool
    classes: tuple[str, ...]
    masks: bool
    polygons_alone: bool
    labelled: bool
    turns: bool
    filtering: Mapping
    indices: int | Sequence[int] | None

    @property
    def where(self) -> str:
        """The splits as a report calls them."""
        return ', '.join(self.splits)


@dataclass
class Evaluator:
    """What a config says of one evaluator with an annotation file of its own; fields as in `Loader`.

    Attributes:
        scores: Whether it evaluates, rather than only writes results.
        bare: Whether pycocotools gets the annotations as they are.
        of_all: Whether it judges all images of the split, rather than those of one of several data sets.
    """

    splits: list[str]
    file: Path
    masks: bool
    panoptic: bool
    scores: bool
    bare: bool
    of_all: bool

    @property
    def where(self) -> str:
        """The splits as a report calls them."""
        return f'{", ".join(self.splits)} evaluator'


def coco_loaders(cfg: Config, splits: Sequence[str], report: Report | None = None) -> list[Loader]:
    """The COCO data sets in the loaders of a config, whatever they are wrapped in; equal ones once.

    Args:
        cfg: A whole MMDetection config.
        splits: Which loaders.
        report: Is told of data sets that are not checked.
    """
    loaders: list[Loader] = []
    for split in splits:
        for node in mappings(cfg.get(f'{split}_dataloader')):
            if 'ann_file' not in node or name_of(node) in CLASS_FOLDERS or 'seg_map_path' in _prefix(node):
                continue
            if reason := _foreign(node):
                if report:
                    report.findings.append(Finding('not-checked', split, '', f'{name_of(node)}: {reason}'))
                continue
            loader = _loader(node, split)
            if report:
                report.findings += _unsound(node, split)
            for other in loaders:
                if replace(other, splits=[], nodes=[]) == replace(loader, splits=[], nodes=[]):
                    other.splits += [split] * (split not in other.splits)
                    other.nodes.append(node)
                    break
            else:
                loaders.append(loader)
    return loaders


def _unsound(node: Mapping, split: str) -> list[Finding]:
    """What is wrong with the config of a data set by itself."""
    found = []
    if 'img' not in _prefix(node):
        text = (
            f'{name_of(node)} has no data_prefix.img: set data_prefix=dict(img=...), or img="" for its data_root itself'
        )
        found.append(Finding('data-missing', split, '', text))
    if isinstance(names := class_names(node), str):
        text = (
            f'metainfo.classes is the text {names!r}, and no such file of names exists; one class alone is written with '
            f'a comma: metainfo=dict(classes=({names!r},))'
        )
        found.append(Finding('classes-differ', split, '', text))
    return found


def _foreign(node: Mapping) -> str | None:
    """Why a data set is none that can be checked: another format, or another place than a file system."""
    kind = dataset_class(node)
    if not (isinstance(kind, type) and issubclass(kind, CocoDataset)):
        return "its annotations are not COCO's"
    if kind.load_data_list is not CocoDataset.load_data_list:
        return 'it reads annotations in a way of its own'
    paths = (node.get('data_root'), node['ann_file'], *_prefix(node).values())
    if node.get('backend_args') or any('://' in str(path) for path in paths):
        return 'its files are not on this machine'
    return None


def _prefix(node: Mapping) -> Mapping:
    return node.get('data_prefix') or {}


def _loader(node: Mapping, split: str) -> Loader:
    root = Path(node.get('data_root') or '')
    prefix = _prefix(node)
    steps = [(name_of(step), step) for step in mappings(node.get('pipeline') or ())]
    reads = [step for name, step in steps if name == 'LoadImageFromFile']
    names = {name for name, _ in steps}
    annotations = [step for name, step in steps if name == 'LoadAnnotations' and step.get('with_mask')]
    panoptic = issubclass(dataset_class(node), CocoPanopticDataset)
    classes = class_names(node)
    return Loader(
        nodes=[node],
        splits=[split],
        root=root if node.get('data_root') else None,
        file=(root / node['ann_file']).resolve(),
        folder=root / (prefix.get('img') or ''),
        maps=root / prefix['seg'] if panoptic and prefix.get('seg') else None,
        panoptic=panoptic,
        classes=(classes,) if isinstance(classes, str) else tuple(classes),
        masks=bool(annotations),
        polygons_alone=split == 'train' and any(not step.get('poly2mask', True) for step in annotations),
        labelled='LoadEmptyAnnotations' not in names or 'LoadAnnotations' in names,
        turns=all(
            step.get('color_type', 'color') in ('color', 'grayscale')
            and step.get('imdecode_backend', 'cv2') in ('cv2', 'pillow')
            for step in reads
        ),
        filtering={} if node.get('test_mode') else dict(node.get('filter_cfg') or {}),
        indices=node.get('indices'),
    )


def coco_evaluators(cfg: Config, splits: Sequence[str], report: Report | None = None) -> list[Evaluator]:
    """The evaluators of a config that read a COCO annotation file of their own from this machine; equal ones once.

    Args:
        cfg: A whole MMDetection config.
        splits: Of which loaders.
        report: Is told of evaluators that are not checked.
    """
    evaluators: list[Evaluator] = []
    for split in splits:
        whole = cfg.get(f'{split}_evaluator')
        of_all = not (isinstance(whole, Mapping) and name_of(whole) == 'MultiDatasetsEvaluator')
        for node in mappings(whole):
            if not node.get('ann_file') or node.get('backend_args') or '://' in node['ann_file']:
                continue
            kind = metric_class(node)
            if not (isinstance(kind, type) and issubclass(kind, COCO_METRICS) and kind not in FOREIGN_METRICS):
                if report:
                    text = f"{name_of(node)}: its annotations are not COCO's"
                    report.findings.append(Finding('not-checked', f'{split} evaluator', '', text))
                continue
            evaluator = _evaluator(node, kind, split, of_all)
            same = [other for other in evaluators if replace(other, splits=[split]) == evaluator]
            if same:
                same[0].splits.append(split)
            else:
                evaluators.append(evaluator)
    return evaluators


def _evaluator(node: Mapping, kind: type, split: str, of_all: bool) -> Evaluator:
    metrics = node.get('metric') or ()
    scores = not node.get('format_only')
    return Evaluator(
        splits=[split],
        file=Path(node['ann_file']).resolve(),
        masks='segm' in ([metrics] if isinstance(metrics, str) else metrics),
        panoptic=issubclass(kind, PANOPTIC_METRICS),
        scores=scores,
        bare=scores and not issubclass(kind, OfficialCocoMetric),
        of_all=of_all,
    )
