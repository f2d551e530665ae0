"""What a config says of its COCO evaluators, and whether each has the images of its loaders."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from mmengine.config import Config

from fishnet_mmdet.base.config_nodes import innermost_data_sets, is_remote, mappings, name_of
from fishnet_mmdet.data.json_files import brief
from fishnet_mmdet.preflight.contents import Contents
from fishnet_mmdet.preflight.findings import Finding
from fishnet_mmdet.preflight.loaders import Loader
from fishnet_mmdet.preflight.mmdet_classes import is_coco_metric, is_official_metric, is_panoptic_metric


@dataclass
class Evaluator:
    """What a config says of one evaluator with an annotation file of its own.

    Attributes:
        splits: The splits that use it.
        file: The annotation file, links resolved.
        masks: Whether it evaluates masks.
        panoptic: Whether the file is in COCO's panoptic format.
        scores: Whether it evaluates; if not, it only writes results.
        stock_metric: Whether MMDetection's own metric evaluates, which gives pycocotools the file as it is.
        data_sets: The configs of the data sets that it evaluates, where it is one of several evaluators that have a
            data set each; None if it evaluates all images of the split.
    """

    splits: list[str]
    file: Path
    masks: bool
    panoptic: bool
    scores: bool
    stock_metric: bool
    data_sets: Sequence[Mapping] | None

    @property
    def where(self) -> str:
        """The splits, as a report names them."""
        return f'{", ".join(self.splits)} evaluator'


def coco_evaluators(cfg: Config, splits: Sequence[str]) -> list[Evaluator]:
    """The evaluators that read a COCO annotation file of their own from this machine; equal ones are one.

    Args:
        cfg: A whole config.
        splits: Which splits.
    """
    evaluators: list[Evaluator] = []
    for split, node in _annotated_nodes(cfg, splits):
        if not is_coco_metric(node) or _is_elsewhere(node):
            continue
        evaluator = _evaluator(node, split, _data_sets_of(node, cfg, split))
        same = next((other for other in evaluators if replace(other, splits=[split]) == evaluator), None)
        if same:
            same.splits.append(split)
        else:
            evaluators.append(evaluator)
    return evaluators


def check_evaluator_configs(cfg: Config, splits: Sequence[str]) -> Iterator[Finding]:
    """Names the evaluators that cannot be checked."""
    for split, node in _annotated_nodes(cfg, splits):
        if not is_coco_metric(node):
            text = f"{name_of(node)}: it is not one of MMDetection's COCO metrics"
            yield Finding('not-checked', f'{split} evaluator', '', text)
        elif _is_elsewhere(node):
            text = f'{name_of(node)}: {node["ann_file"]} is not on this machine'
            yield Finding('not-checked', f'{split} evaluator', '', text)


def _annotated_nodes(cfg: Config, splits: Sequence[str]) -> Iterator[tuple[str, Mapping]]:
    """Evaluators with an annotation file of their own."""
    for split in splits:
        for node in mappings(cfg.get(f'{split}_evaluator')):
            if node.get('ann_file'):
                yield split, node


def _is_elsewhere(node: Mapping) -> bool:
    return is_remote(node) or '://' in node['ann_file']


def has_an_evaluator_for_each(cfg: Config, split: str) -> bool:
    """Whether each data set of a split has an evaluator of its own."""
    evaluator = cfg.get(f'{split}_evaluator')
    return isinstance(evaluator, Mapping) and name_of(evaluator) == 'MultiDatasetsEvaluator'


def _data_sets_of(metric: Mapping, cfg: Config, split: str) -> list[Mapping] | None:
    if not has_an_evaluator_for_each(cfg, split):
        return None
    metrics = cfg[f'{split}_evaluator']['metrics']
    metrics = [metrics] if isinstance(metrics, Mapping) else metrics
    members = ((cfg.get(f'{split}_dataloader') or {}).get('dataset') or {}).get('datasets') or ()
    pairs = zip(metrics, members, strict=False)
    return [one for node, member in pairs if node is metric for one in innermost_data_sets(member)]


def _evaluator(node: Mapping, split: str, data_sets: Sequence[Mapping] | None) -> Evaluator:
    metrics = node.get('metric') or ()
    scores = not node.get('format_only')
    return Evaluator(
        splits=[split],
        file=Path(node['ann_file']).resolve(),
        masks='segm' in ([metrics] if isinstance(metrics, str) else metrics),
        panoptic=is_panoptic_metric(node),
        scores=scores,
        stock_metric=scores and not is_official_metric(node),
        data_sets=data_sets,
    )


def loaders_of(evaluator: Evaluator, loaders: Sequence[Loader], split: str) -> list[Loader]:
    """The loaders of a split whose images an evaluator gets."""
    own = evaluator.data_sets
    return [
        loader
        for loader in loaders
        if split in loader.splits and (own is None or any(node is one for node in loader.nodes for one in own))
    ]


def check_same_images(
    evaluator: Evaluator, loaders: Sequence[Loader], files: Mapping[Path, Contents]
) -> Iterator[Finding]:
    """Checks that an evaluator and the loaders of a split have the same images.

    An image that only the loader has crashes the evaluation; one that only the evaluator has counts as missed.

    Args:
        evaluator: The evaluator.
        loaders: All loaders of one of its splits.
        files: Annotation files by path.
    """
    if not all(files[user.file].is_read for user in (evaluator, *loaders)):
        return
    truth, data = files[evaluator.file].images.keys(), set()
    for loader in loaders:
        data |= {*loader.take(files[loader.file])}
    paths = ', '.join(str(loader.file) for loader in loaders)
    for odd, text in (
        (data - truth, 'images of the loader are not in the evaluator'),
        (truth - data, 'images of the evaluator are not in the loader, and would count as missed'),
    ):
        if odd:
            ids = ', '.join(map(brief, islice(sorted(odd, key=str), 5)))
            text = f'{len(odd)} {text}: {ids}{", ..." if len(odd) > 5 else ""}; the loader reads {paths}'
            yield Finding('evaluator-images', evaluator.where, str(evaluator.file), text)
