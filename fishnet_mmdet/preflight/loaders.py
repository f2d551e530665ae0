"""What a config says of its COCO data sets; no data are opened here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

import numpy as np
from mmengine.config import Config

from fishnet_mmdet.base.config_nodes import class_names, is_remote, mappings, name_of
from fishnet_mmdet.preflight.contents import Contents
from fishnet_mmdet.preflight.findings import Finding
from fishnet_mmdet.preflight.folders import CLASS_FOLDERS
from fishnet_mmdet.preflight.mmdet_classes import is_coco_dataset, is_panoptic_dataset, reads_coco_as_mmdet
from fishnet_mmdet.preflight.readers import Reader


@dataclass(frozen=True)
class Pipeline:
    """What the pipeline of a data set reads.

    Attributes:
        masks: Whether it reads masks.
        polygons_only: Whether it removes objects whose mask is an RLE.
        labels: Whether it reads annotations at all; a part of semi-supervised data does not.
        reader: How it decodes images; None if a step that is not known reads them.
    """

    masks: bool
    polygons_only: bool
    labels: bool
    reader: Reader | None


@dataclass(frozen=True)
class Selection:
    """Which images of its annotation file a data set takes.

    Attributes:
        filtering: The `filter_cfg` that applies.
        indices: How many images, from the front or (negative) the back, or which; None for all.
    """

    filtering: Mapping
    indices: int | Sequence[int] | None

    def take(self, contents: Contents, of_classes: np.ndarray) -> list[int | str]:
        """Ids of the images, as MMDetection filters them and MMEngine then picks from them.

        Args:
            contents: The annotation file.
            of_classes: (N,) whether each object is of a class of the config.
        """
        ids = list(contents.images)
        if least := self.filtering.get('min_size', 0):
            ids = [key for key in ids if min(contents.images[key].width, contents.images[key].height) >= least]
        if self.filtering.get('filter_empty_gt'):
            annotated = {*compress(contents.objects.image_ids, of_classes)}
            ids = [key for key in ids if key in annotated]
        if isinstance(self.indices, int):
            return ids[: self.indices] if self.indices >= 0 else ids[self.indices :]
        return ids if self.indices is None else [ids[i] for i in self.indices if -len(ids) <= i < len(ids)]


@dataclass
class Loader:
    """What a config says of one COCO data set.

    Attributes:
        nodes: Its places in the config.
        splits: The splits that use it; validation and test often have the same one.
        root: The data root, if it has one.
        file: The annotation file, links resolved.
        folder: The folder of the images; None if they are not on this machine's disk.
        maps: The folder of the panoptic maps, if it has any.
        panoptic: Whether the file is in COCO's panoptic format.
        classes: Names in the order of their labels.
        pipeline: What the pipeline reads.
        selection: Which images are taken.
    """

    nodes: list[Mapping]
    splits: list[str]
    root: Path | None
    file: Path
    folder: Path | None
    maps: Path | None
    panoptic: bool
    classes: tuple[str, ...]
    pipeline: Pipeline
    selection: Selection

    @property
    def where(self) -> str:
        """The splits, as a report names them."""
        return ', '.join(self.splits)

    def take(self, contents: Contents) -> list[int | str]:
        """Ids of the images that it takes of its annotation file."""
        wanted = [key for key, name in contents.categories if name in self.classes]
        return self.selection.take(contents, np.isin(contents.objects.category_ids, wanted))

    def is_like(self, other: 'Loader') -> bool:
        """Whether both read the same in the same way."""
        return replace(self, splits=[], nodes=[]) == replace(other, splits=[], nodes=[])


def coco_loaders(cfg: Config, splits: Sequence[str]) -> list[Loader]:
    """The COCO data sets of a config that can be checked; those that are alike are one, with all their splits.

    Args:
        cfg: A whole config.
        splits: Which splits.
    """
    loaders: list[Loader] = []
    for split, node in _annotated_nodes(cfg, splits):
        if _not_checked(node):
            continue
        loader = _loader(node, split)
        same = next((other for other in loaders if other.is_like(loader)), None)
        if same:
            same.splits += [split] * (split not in same.splits)
            same.nodes.append(node)
        else:
            loaders.append(loader)
    return loaders


def check_loader_configs(cfg: Config, splits: Sequence[str]) -> Iterator[Finding]:
    """Checks the configs of data sets by themselves: whether they can be checked, and their folders and classes."""
    for split, node in _annotated_nodes(cfg, splits):
        if reason := _not_checked(node):
            yield Finding('not-checked', split, '', f'{name_of(node)}: {reason}')
            continue
        if 'img' not in _prefix(node):
            text = (
                f'{name_of(node)} has no data_prefix.img: set data_prefix=dict(img=...), or img="" for data_root itself'
            )
            yield Finding('data-missing', split, '', text)
        if isinstance(names := class_names(node), str):
            text = (
                f'metainfo.classes is the text {names!r}, and there is no file of that name; write a single class '
                f'with a comma: metainfo=dict(classes=({names!r},))'
            )
            yield Finding('classes-differ', split, '', text)


def _annotated_nodes(cfg: Config, splits: Sequence[str]) -> Iterator[tuple[str, Mapping]]:
    """Data sets with an annotation file, apart from those that `folders` checks."""
    for split in splits:
        for node in mappings(cfg.get(f'{split}_dataloader')):
            if 'ann_file' in node and name_of(node) not in CLASS_FOLDERS and 'seg_map_path' not in _prefix(node):
                yield split, node


def _not_checked(node: Mapping) -> str | None:
    """Why a data set cannot be checked, or None."""
    if not is_coco_dataset(node):
        return "it is not one of MMDetection's COCO data sets"
    if not reads_coco_as_mmdet(node):
        return 'it reads annotations with code of its own'
    paths = (node.get('data_root'), node['ann_file'], *_prefix(node).values())
    if is_remote(node) or any('://' in str(path) for path in paths):
        return 'its files are not on this machine'
    return None


def _prefix(node: Mapping) -> Mapping:
    return node.get('data_prefix') or {}


def _loader(node: Mapping, split: str) -> Loader:
    root = Path(node.get('data_root') or '')
    prefix, panoptic, classes = _prefix(node), is_panoptic_dataset(node), class_names(node)
    reading = _reading_step(node)
    return Loader(
        nodes=[node],
        splits=[split],
        root=root if node.get('data_root') else None,
        file=(root / node['ann_file']).resolve(),
        folder=None if reading and is_remote(reading) else root / (prefix.get('img') or ''),
        maps=root / prefix['seg'] if panoptic and prefix.get('seg') else None,
        panoptic=panoptic,
        classes=(classes,) if isinstance(classes, str) else tuple(classes),
        pipeline=_pipeline(node, split),
        selection=Selection(
            filtering={} if node.get('test_mode') else dict(node.get('filter_cfg') or {}), indices=node.get('indices')
        ),
    )


def _reading_step(node: Mapping) -> Mapping | None:
    """The first `LoadImageFromFile` of a data set's pipeline, or None."""
    steps = mappings(node.get('pipeline') or ())
    return next((step for step in steps if name_of(step) == 'LoadImageFromFile'), None)


def _pipeline(node: Mapping, split: str) -> Pipeline:
    steps = [(name_of(step), step) for step in mappings(node.get('pipeline') or ())]
    names = {name for name, _ in steps}
    with_masks = [step for name, step in steps if name == 'LoadAnnotations' and step.get('with_mask')]
    # Without a pipeline, the default reader stands for the one that is added later.
    reading = _reading_step(node) if steps else {}
    reader = None
    if reading is not None:
        reader = Reader(reading.get('imdecode_backend') or 'cv2', reading.get('color_type') or 'color')
    return Pipeline(
        masks=bool(with_masks),
        polygons_only=split == 'train' and any(not step.get('poly2mask', True) for step in with_masks),
        labels='LoadEmptyAnnotations' not in names or 'LoadAnnotations' in names,
        reader=reader,
    )
