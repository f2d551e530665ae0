"""AP of single classes: taken from the figures of evaluators, sorted, as a table."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from fishnet_mmdet.base.tables import Column, Table
from fishnet_mmdet.evaluation.results_files import IOU_TYPES

SUFFIX = '_precision'
"""The end of the key of a class, as mmdet names it."""


class ClassRow(NamedTuple):
    """What was measured of one class.

    Attributes:
        name: The class.
        objects: Number of objects in the evaluated data, or None if it is not known.
        figures: Figures by name, as fractions of 1, or None if there is no object.
    """

    name: str
    objects: int | None
    figures: dict[str, float | None]


def best_first(rows: Iterable[ClassRow]) -> list[ClassRow]:
    """Sorts classes by their first figure, equal ones by the number of objects; those without a figure come last."""

    def order(row: ClassRow) -> tuple[bool, float, int]:
        first = next(iter(row.figures.values()), None)
        return first is None, -(first or 0), -(row.objects or 0)

    return sorted(rows, key=order)


def class_table(rows: Sequence[ClassRow], title: str) -> Table:
    """The classes as a table, in percent."""
    columns = list(dict.fromkeys(name for row in rows for name in row.figures))
    return Table(
        name='ap_by_class',
        title=title,
        columns=(Column('class'), Column('objects', ',d'), *(Column(name, '.1f') for name in columns)),
        rows=[(row.name, row.objects, *(percent(row.figures.get(name)) for name in columns)) for row in rows],
    )


def percent(figure: float | None) -> float | None:
    """A fraction in percent."""
    return None if figure is None else 100 * figure


def or_none(figure: float) -> float | None:
    """A figure, or None for NaN and for pycocotools' -1."""
    return figure if figure >= 0 else None


def class_figures(metrics: Mapping[str, float]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Finds the AP of classes in the output of evaluators.

    Args:
        metrics: Figures by key. Where boxes and masks were evaluated, the key of a class has the type in front of its
            name (`coco/bbox_car_precision`). mmdet's metric gives the AP of the last type only (`coco/car_precision`).

    Returns:
        AP by type ('bbox AP', 'segm AP') by class by the prefix of the evaluator, such as 'teacher/coco/'.
    """
    types: dict[str, list[str]] = {}
    for key in metrics:
        for iou_type in IOU_TYPES:
            # The second is LVISMetric's.
            for last in (f'{iou_type}_mAP', f'{iou_type}_AP'):
                if key.endswith(last):
                    types.setdefault(key.removesuffix(last), []).append(iou_type)
    figures: dict[str, dict[str, float]] = {prefix: {} for prefix in types}
    for key, value in metrics.items():
        # Names of classes may hold a slash. The longest prefix is the one of the evaluator.
        prefixes = [prefix for prefix in types if key.startswith(prefix) and key.endswith(SUFFIX)]
        if prefixes:
            prefix = max(prefixes, key=len)
            figures[prefix][key[len(prefix) : -len(SUFFIX)]] = value
    return {prefix: _by_class(found, types[prefix]) for prefix, found in figures.items() if found}


def _by_class(figures: Mapping[str, float], types: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """AP by type by class, of one evaluator."""
    typed = {f'{t}_{name}': (t, name) for name in figures for t in types if f'{t}_{name}' in figures}
    if not typed:
        return {name: {f'{types[-1]} AP': or_none(value)} for name, value in figures.items()}
    classes: dict[str, dict[str, float | None]] = {}
    for key, (iou_type, name) in typed.items():
        classes.setdefault(name, {})[f'{iou_type} AP'] = or_none(figures[key])
    return classes


def count_objects(data: Iterable[object]) -> Counter[str]:
    """Counts the objects of each class in data sets of mmdet, crowds not counted."""
    objects: Counter[str] = Counter()
    for part in data:
        classes = part.metainfo['classes']
        for number in range(len(part)):
            instances = part.get_data_info(number).get('instances', ())
            objects.update(classes[i['bbox_label']] for i in instances if not i.get('ignore_flag'))
    return objects


def mean_of(rows: Iterable[ClassRow], figure: str) -> float:
    """The mean of a figure over the classes that have it; NaN if none has."""
    values = [value for row in rows if (value := row.figures.get(figure)) is not None]
    return sum(values) / len(values) if values else math.nan


def worst_of(rows: Sequence[ClassRow], figure: str, count: int) -> list[ClassRow]:
    """The classes with the lowest figure, the worst first; of equal ones those with the most objects."""
    return sorted(rows, key=lambda row: (row.figures[figure], -(row.objects or 0)))[:count]


def distribution(rows: Sequence[ClassRow], figures: Sequence[str]) -> list[tuple[str, list[int]]]:
    """How many classes have a figure of 90 to 100 %, 80 to 90 %, ..., 0, and none; for each of the figures."""
    ranges: dict[str, list[int]] = {f'{10 * tens} to {10 * tens + 10}': [] for tens in range(9, 0, -1)}
    ranges |= {'above 0 to 10': [], 'exactly 0': [], 'no object': []}
    for figure in figures:
        found = Counter(_range_of(row.figures.get(figure)) for row in rows)
        for name, counts in ranges.items():
            counts.append(found[name])
    return list(ranges.items())


def _range_of(value: float | None) -> str:
    if value is None:
        return 'no object'
    tens = min(int(10 * value), 9)
    return f'{10 * tens} to {10 * tens + 10}' if tens else 'above 0 to 10' if value > 0 else 'exactly 0'


def by_objects(rows: Sequence[ClassRow], figures: Sequence[str]) -> list[tuple[str, list[float | None]]]:
    """Mean figures of the classes with 1 to 9 objects, 10 to 99, and so on; empty if the numbers are not known."""
    digits: dict[int, list[ClassRow]] = {}
    for row in rows:
        if row.objects:
            digits.setdefault(len(str(row.objects)), []).append(row)
    means = []
    for n, found in sorted(digits.items()):
        classes = 'class' if len(found) == 1 else 'classes'
        name = f'{10 ** (n - 1):,} to {10**n - 1:,} objects ({len(found):,} {classes})'
        means.append((name, [or_none(mean_of(found, figure)) for figure in figures]))
    return means
