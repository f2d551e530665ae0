"""What the names of a validation's figures mean: titles, units, which one is the first to look at."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from fishnet_mmdet.evaluation.ap_report import LOGGED

USUAL = ('coco', 'coco_panoptic', 'accuracy', 'pascal_voc', 'val')
"""Prefixes that say nothing about what was evaluated."""

COCO = re.compile(rf'(\w+?)_({"|".join(map(re.escape, LOGGED))})')
RECALL = re.compile(r'(\w+?)_AR(?:_([sml]))?@(\d+)')
CLASS = re.compile(r'(?:(bbox|segm)_)?(.+)_precision')
PERCENT = {
    'mIoU': 'mIoU',
    'mAcc': 'mean accuracy of classes',
    'aAcc': 'accuracy of pixels',
    'PQ': 'PQ',
    'SQ': 'SQ',
    'RQ': 'RQ',
}
OF_THE_LOOP = ('time', 'data_time', 'epoch', 'iter', 'memory')

FIRST = ('segm_mAP', 'bbox_mAP', 'PQ', 'mIoU', 'top1', 'mAP')
"""Figures by which runs are compared, most telling first."""


@dataclass(frozen=True)
class Metric:
    """A figure of a validation.

    Attributes:
        key: Its name in the log.
        title: What it is, such as 'segm AP'.
        factor: What a logged value is multiplied by to be shown.
        unit: '%' or ''.
        rank: Place in `FIRST`; those behind are not drawn if there are any in it.
        has_missing: Whether -1 stands for no objects, as in pycocotools.
    """

    key: str
    title: str
    factor: float = 1
    unit: str = ''
    rank: int = len(FIRST)
    has_missing: bool = False

    @property
    def rises(self) -> bool:
        """Whether more is better."""
        return not re.search('loss|error|mae|mse', self.key.lower())

    def shown(self, value: float | None) -> float | None:
        """A logged value in the unit of the page; None if it says nothing."""
        if value is None or not math.isfinite(value) or (self.has_missing and value < 0):
            return None
        return self.factor * value

    def text(self, value: float) -> str:
        """A value of the page as text."""
        return f'{value:.1f}' if self.unit else f'{value:.4g}'


def describe(key: str) -> Metric | None:
    """What a name of the log means; None for what is not a figure of quality, such as times."""
    *prefixes, name = key.split('/')
    if name in OF_THE_LOOP:
        return None
    of = ': '.join([part for part in prefixes if part not in USUAL] + [''])
    rank = FIRST.index(name) if name in FIRST else len(FIRST)
    if match := COCO.fullmatch(name):
        return Metric(key, f'{of}{match[1]} {LOGGED[match[2]]}', 100, '%', rank, True)
    if match := RECALL.fullmatch(name):
        size = f'_{match[2].upper()}' if match[2] else f'@{match[3]}'
        return Metric(key, f'{of}{match[1]} AR{size}', 100, '%', rank, True)
    if match := CLASS.fullmatch(name):
        return Metric(key, f'{of}{match[1] or ""} AP of {match[2]}'.strip(), 100, '%', rank, True)
    if match := re.fullmatch(r'top-?(\d+)', name):
        return Metric(key, f'{of}top-{match[1]} accuracy', 1, '%', rank)
    if match := re.fullmatch(r'(mIoU|mAcc|aAcc|PQ|SQ|RQ)(_th|_st)?', name):
        group = {'_th': ' of things', '_st': ' of stuff', None: ''}[match[2]]
        return Metric(key, f'{of}{PERCENT[match[1]]}{group}', 1, '%', rank)
    if re.fullmatch(r'm?AP\d*', name):
        return Metric(key, f'{of}{name}', 100, '%', rank, True)
    return Metric(key, f'{of}{name}', rank=rank)


def class_figures(keys: Iterable[str]) -> dict[str, dict[str, str]]:
    """The keys of per-class AP: by kind (bbox or segm; '' if the log does not say), then by class.

    Our metric logs the last kind under both names; then those with a kind count.
    """
    found: dict[str, dict[str, str]] = {}
    for key in keys:
        if match := CLASS.fullmatch(key.rpartition('/')[2]):
            found.setdefault(match[1] or '', {})[match[2]] = key
    return {kind: found[kind] for kind in found if kind or len(found) == 1}


def main_metrics(keys: Iterable[str]) -> list[Metric]:
    """The figures to draw over epochs, the first one first; any figures if there are none that are known."""
    keys = list(dict.fromkeys(keys))
    metrics = [metric for key in keys if (metric := describe(key)) and not CLASS.fullmatch(key.rpartition('/')[2])]
    known = sorted((m for m in metrics if m.rank < len(FIRST)), key=lambda m: m.rank)
    return known or sorted(metrics, key=lambda m: not m.rises)
