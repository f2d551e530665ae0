"""The main figures of a validation or test, by the names that people use."""

import math
import numbers
from collections.abc import Mapping
from typing import NamedTuple

PERCENT = {'bbox_mAP': 'box AP', 'segm_mAP': 'mask AP', 'mAP': 'AP', 'AP50': 'AP50'}
"""Figures that the evaluators give as fractions of 1, by the last part of their key."""

AS_IS = {'top1': 'top-1', 'PQ': 'PQ', 'mIoU': 'mIoU', 'mDice': 'mDice', 'mFscore': 'mFscore'}
"""Figures that the evaluators give in percent."""

USUAL_PREFIXES = ('coco', 'coco_panoptic', 'accuracy', 'pascal_voc', 'val', 'test', '')
SHOWN = 2


class Figure(NamedTuple):
    """A figure as it is shown.

    Attributes:
        name: Its name.
        value: Its value.
        is_percent: Whether it is a percentage that is the better the larger.
    """

    name: str
    value: float
    is_percent: bool

    def __str__(self) -> str:
        return f'{self.name} {self.number}'

    @property
    def number(self) -> str:
        """The value: one decimal for percentages, else four digits."""
        return f'{self.value:.1f}' if self.is_percent else f'{self.value:.4g}'


def main_figures(metrics: Mapping[str, object]) -> list[Figure]:
    """Returns the figures that stand for a validation, two of them at most.

    Args:
        metrics: What the evaluators gave, by MMEngine's keys. What is not a number, NaN, and -1, COCO's figure where
            there are no objects, are left out.

    Returns:
        AP, accuracy, IoU or PQ; without any of these, the first figures that there are.
    """
    known, others = [], []
    for key, value in metrics.items():
        if not is_figure(value):
            continue
        prefix, _, last = key.rpartition('/')
        named = PERCENT.get(last) or AS_IS.get(last)
        if named:
            owner = ' '.join(part for part in prefix.split('/') if part not in USUAL_PREFIXES)
            known.append(Figure(f'{owner} {named}'.strip(), float(value) * (100 if last in PERCENT else 1), True))
        else:
            others.append(Figure(last, float(value), False))
    return (known or others)[:SHOWN]


def is_figure(value: object) -> bool:
    """Whether a value of an evaluator is a figure rather than a mark of its absence."""
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    return math.isfinite(value) and value != -1
