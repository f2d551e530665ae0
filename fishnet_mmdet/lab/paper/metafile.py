"""The file by which MIM and model hubs list the configs: configs/metafile.yml; model-index.yml names it.

No figure in it was measured with this code. Each carries that remark in its name.
"""

from typing import Any

import mmengine
from mmengine.config import Config

from fishnet_mmdet.base.config_files import config_folder, config_names
from fishnet_mmdet.evaluation.published import NOT_MEASURED, PUBLISHED_AP
from fishnet_mmdet.lab.counting import count_model
from fishnet_mmdet.weights.catalogue import CATALOGUE

COLLECTION = 'FishNet'
TASKS = {'mmdet': 'Object Detection', 'mmpretrain': 'Image Classification', 'mmseg': 'Semantic Segmentation'}
"""Task by default scope."""

METRICS = {'bbox': ('Object Detection', 'box AP'), 'segm': ('Instance Segmentation', 'mask AP')}
"""Task and metric by IoU type, as MMDetection's metafiles name them."""


def metafile() -> str:
    """Every config of a FishNet, with counts of the built backbone and published figures.

    Returns:
        The text of configs/metafile.yml.
    """
    collection = {
        'Name': COLLECTION,
        'Metadata': {'Architecture': ['FishNet', 'FPN']},
        'Paper': {
            'URL': 'https://arxiv.org/abs/1901.03495',
            'Title': 'FishNet: A Versatile Backbone for Image, Region, and Pixel Level Prediction',
        },
        'README': 'docs/configs.md',
    }
    configs = {name: Config.fromfile(config_folder() / f'{name}.py') for name in config_names()}
    models = [_entry(name, cfg) for name, cfg in configs.items() if cfg.model.backbone.type.endswith('FishNet')]
    return mmengine.dump({'Collections': [collection], 'Models': models}, file_format='yaml', sort_keys=False)


def _entry(name: str, cfg: Config) -> dict[str, Any]:
    """One config: what it trains, and what is published of it."""
    entry: dict[str, Any] = {'Name': name, 'In Collection': COLLECTION, 'Config': f'configs/{name}.py'}
    metadata: dict[str, Any] = {}
    arch = cfg.model.backbone.get('arch', 'fishnet150')
    if isinstance(arch, str):
        counts = count_model(arch)
        metadata['Parameters of the classifier'] = counts.parameters
        metadata['GMACs of the classifier at 224 x 224'] = round(counts.gmacs, 3)
    if 'max_epochs' in cfg.train_cfg:
        metadata['Epochs'] = cfg.train_cfg.max_epochs
    entry['Metadata'] = {**metadata, 'Training Data': cfg.train_dataloader.dataset.type}
    results = _published_ap(name, cfg) or _published_accuracy(name)
    return {**entry, 'Results': results} if results else entry


def _published_ap(name: str, cfg: Config) -> list[dict[str, Any]]:
    """The paper's AP, for the configs that follow its recipe with FishNet-150."""
    if not name.endswith('_fishnet150_fpn') or cfg.model.type not in PUBLISHED_AP:
        return []
    rows = []
    for iou_type, published in PUBLISHED_AP[cfg.model.type].items():
        (ap,) = [row.ap for row in published if row.backbone == 'FishNet-150']
        task, metric = METRICS[iou_type]
        rows.append({'Task': task, 'Dataset': 'COCO', 'Metrics': {f'{metric} ({NOT_MEASURED})': ap}})
    return rows


def _published_accuracy(name: str) -> list[dict[str, Any]]:
    """The accuracy of the released weights of a config of ImageNet."""
    arch, _, schedule = name.removeprefix('imagenet_').partition('_')
    weights = CATALOGUE.get('-'.join(filter(None, (arch, 'imagenet', schedule))))
    if not name.startswith('imagenet_') or weights is None:
        return []
    metrics = {'Top 1 Accuracy': weights.top1, 'Top 5 Accuracy': weights.top5}
    labelled = {f'{metric} ({NOT_MEASURED})': value for metric, value in metrics.items() if value is not None}
    return [{'Task': 'Image Classification', 'Dataset': 'ImageNet-1k', 'Metrics': labelled}]
