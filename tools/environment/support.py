"""The results of the support matrix: the file that keeps them, and what is generated from it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from environment.families import FAMILIES, REPO

RESULTS = REPO / 'docs' / 'support.json'
PAGE = REPO / 'docs' / 'support.md'
DOCTOR = REPO / 'fishnet_mmdet' / 'doctor' / 'tried.py'
PINNED, NEWEST = 'pinned', 'newest'


@dataclass(frozen=True)
class Row:
    """A combination to try.

    Attributes:
        python: Major and minor version, such as '3.11'.
        family: Name of the family of packages.
        torch: 'pinned' for the one of the Makefile, 'newest' for what the package index offers.
    """

    python: str
    family: str
    torch: str = PINNED

    @property
    def name(self) -> str:
        """As in ROWS=: '3.11-onedl', '3.11-onedl-newest'."""
        return f'{self.python}-{self.family}' + ('' if self.torch == PINNED else f'-{self.torch}')


def all_rows() -> list[Row]:
    """Every Python of every family with the pinned torch, then with the newest."""
    return [Row(python, family, torch) for torch in (PINNED, NEWEST) for python, family in _supported()]


def _supported() -> Iterator[tuple[str, str]]:
    for family in FAMILIES.values():
        (major, first), (_, last) = family.pythons
        yield from ((f'{major}.{minor}', family.name) for minor in range(first, last + 1))


def read_results(path: Path = RESULTS) -> dict[str, dict]:
    """The results so far: name of the row -> its figures."""
    return json.loads(path.read_text()) if path.exists() else {}


def write_results(results: Mapping[str, dict], path: Path = RESULTS) -> None:
    """Writes the results, whole or not at all."""
    _replace(path, json.dumps(results, indent=1) + '\n')


def table(results: Mapping[str, dict]) -> str:
    """The table of docs/support.md."""
    head = [
        'Python',
        'family',
        'torch',
        'date',
        'set-up',
        'passed',
        'failed',
        'skipped',
        'demo AP, bbox / segm',
        'note',
    ]
    lines = [head, ['---'] * 5 + ['---:'] * 4 + ['---']]
    for row in all_rows():
        found = results.get(row.name, {})
        start = [row.python, FAMILIES[row.family].title, found.get('torch', row.torch)]
        if found:
            counts = [found.get(key, '-') for key in ('passed', 'failed', 'skipped')]
            demo = f'{found["bbox"]:.1f} / {found["segm"]:.1f}' if 'bbox' in found else '-'
            note = '; '.join(filter(None, (found.get('error'), found.get('note'))))
            lines.append([*start, found['date'], _set_up(found), *counts, demo, note])
        else:
            lines.append([*start, 'not run yet', *['-'] * 5, ''])
    return ''.join('| ' + ' | '.join(map(str, line)) + ' |\n' for line in lines)


def _set_up(found: Mapping) -> str:
    if 'setup_seconds' not in found:
        return '-'
    minutes, seconds = divmod(round(found['setup_seconds']), 60)
    return f'{minutes} min {seconds} s, mmcv {found["mmcv"]}'


def tried(results: Mapping[str, dict]) -> dict[tuple[str, str, str], str]:
    """What the doctor knows: Python, family and torch with which the whole test suite ran -> date and result."""
    return {
        (row.python, row.family, found['torch']): f'{found["date"]}: {found["passed"]} passed, {found["failed"]} failed'
        for row in all_rows()
        if 'passed' in (found := results.get(row.name, {}))
    }


def write_generated(results: Mapping[str, dict]) -> None:
    """Writes the table of docs/support.md and what the doctor knows."""
    markers = '<!-- table -->\n', '<!-- end of table -->'
    _replace(PAGE, _between(PAGE.read_text(), *markers, table(results)))
    known = '\n'.join(['', *(f'    {key!r}: {text!r},' for key, text in tried(results).items()), ''])
    markers = 'TRIED: dict[tuple[str, str, str], str] = {', '}\n"""'
    _replace(DOCTOR, _between(DOCTOR.read_text(), *markers, known if tried(results) else ''))


def _between(text: str, start: str, end: str, new: str) -> str:
    pattern = f'(?<={re.escape(start)}).*?(?={re.escape(end)})'
    return re.sub(pattern, lambda _: new, text, count=1, flags=re.DOTALL)


def _replace(path: Path, text: str) -> None:
    fresh = path.with_name(f'.{path.name}.{os.getpid()}')
    fresh.write_text(text)
    os.replace(fresh, path)
