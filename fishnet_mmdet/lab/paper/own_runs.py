"""The figures of a user's own runs, from the tables that training and testing leave in a work dir."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from fishnet_mmdet.errors import UserError

TABLES = ('ap_test', 'ap_val', 'accuracy_test', 'accuracy_val')


class ReportError(UserError, ValueError):
    """An argument from which no tables can be made; the message names it, its value and the fix."""


class Run(NamedTuple):
    """The last figures of one kind in one work dir.

    Attributes:
        label: Name of the work dir.
        source: The file, and what in it was taken.
        rows: One per type (bbox, segm): figures as fractions of 1, with `label` and `type`.
    """

    label: str
    source: str
    rows: tuple[dict, ...]


def read_runs(work_dirs: Iterable[Path]) -> dict[str, list[Run]]:
    """Reads the last measured figures of each work dir; a test counts before a validation.

    Returns:
        Runs with AP under 'ap', with accuracy under 'accuracy'.

    Raises:
        ReportError: A folder that does not exist, without any of the `TABLES`, or with one that cannot be read.
    """
    dirs = list(dict.fromkeys(work_dirs))
    names = [d.resolve().name for d in dirs]
    runs: dict[str, list[Run]] = {'ap': [], 'accuracy': []}
    for work_dir, name in zip(dirs, names, strict=True):
        if not work_dir.is_dir():
            raise ReportError(f'--work-dirs {work_dir}: no such folder; give one that a run wrote')
        found = [path for table in TABLES if (path := work_dir / f'{table}.json').is_file()]
        if not found:
            wanted = ', '.join(f'{table}.json' for table in TABLES)
            raise ReportError(f'--work-dirs {work_dir}: none of {wanted} is in it; train or test there first')
        label = name if names.count(name) == 1 else str(work_dir)
        for kind, kept in runs.items():
            path = next((path for path in found if path.name.startswith(f'{kind}_')), None)
            if path:
                kept.append(_last(path, label))
    return runs


def _last(path: Path, label: str) -> Run:
    broken = f'--work-dirs {path.parent}: {path.name}'
    try:
        entries = json.loads(path.read_text())['measured']
        last = entries[-1]['label']
        # Of each type the newest row is the one, whoever wrote the file.
        rows = {entry['type']: entry for entry in entries if entry['label'] == last}
        numbers = [v for row in rows.values() for k, v in row.items() if k not in ('label', 'type')]
        if not all(v is None or isinstance(v, int | float) for v in numbers):
            raise TypeError('a figure that is no number')
    except (OSError, ValueError) as error:
        raise ReportError(f'{broken} cannot be read ({error}); test again to write it anew') from error
    except (LookupError, TypeError) as error:
        raise ReportError(f'{broken} holds no table of measured rows; test again to write it anew') from error
    return Run(label, f'{path.name}, {last}', tuple(rows.values()))
