"""Figures of the user's own runs, from the tables that training and testing leave in a work directory."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from fishnet_mmdet.base.errors import UserError

TABLES = ('ap_test', 'ap_val', 'accuracy_test', 'accuracy_val')
"""Names of the tables; a test comes before a validation."""


class TablesError(UserError, ValueError):
    """An argument from which no tables can be made; the message names it, its value and the fix."""


class TrainedRun(NamedTuple):
    """The last figures of one kind in one work directory.

    Attributes:
        label: Name of the work directory.
        source: The file, the label of the rows that were taken from it, and whether the run's data are others than
            those of the published rows.
        rows: One for each type (bbox, segm): figures as fractions of 1, with `label` and `type`.
    """

    label: str
    source: str
    rows: tuple[dict, ...]


def read_runs(work_dirs: Iterable[Path]) -> dict[str, list[TrainedRun]]:
    """Reads the last figures of each work directory; figures of a test are preferred to those of a validation.

    Args:
        work_dirs: Work directories of trainings or tests.

    Returns:
        Runs with AP under 'ap', with accuracy under 'accuracy'.

    Raises:
        TablesError: A folder that does not exist, has none of the `TABLES`, or has one that cannot be read.
    """
    dirs = list(dict.fromkeys(work_dirs))
    names = [d.resolve().name for d in dirs]
    runs: dict[str, list[TrainedRun]] = {'ap': [], 'accuracy': []}
    for work_dir, name in zip(dirs, names, strict=True):
        if not work_dir.is_dir():
            raise TablesError(f'--work-dirs {work_dir}: no such folder; give the work directory of a run')
        found = [path for table in TABLES if (path := work_dir / f'{table}.json').is_file()]
        if not found:
            wanted = ', '.join(f'{table}.json' for table in TABLES)
            raise TablesError(f'--work-dirs {work_dir}: it has none of {wanted}; train or test there first')
        label = name if names.count(name) == 1 else str(work_dir)
        for kind, kept in runs.items():
            path = next((path for path in found if path.name.startswith(f'{kind}_')), None)
            if path:
                kept.append(_last(path, label))
    return runs


def _last(path: Path, label: str) -> TrainedRun:
    broken = f'--work-dirs {path.parent}: {path.name}'
    try:
        record = json.loads(path.read_text())
        entries = record['measured']
        last = entries[-1]['label']
        # If a type has several rows with the last label, the newest row counts.
        rows = {entry['type']: entry for entry in entries if entry['label'] == last}
        numbers = [v for row in rows.values() for k, v in row.items() if k not in ('label', 'type')]
        if not all(v is None or isinstance(v, int | float) for v in numbers):
            raise TypeError('a figure that is not a number')
    except (OSError, ValueError) as error:
        raise TablesError(f'{broken} cannot be read ({error}); test again to write it again') from error
    except (LookupError, TypeError) as error:
        raise TablesError(f'{broken} has no table of measured rows; test again to write it again') from error
    # Tables of earlier versions do not say what the data are.
    remark = '' if record.get('data', True) else ', other data than the published rows'
    return TrainedRun(label, f'{path.name}, {last}{remark}', tuple(rows.values()))
