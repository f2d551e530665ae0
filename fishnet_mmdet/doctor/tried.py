"""Combinations of Python, packages and torch with which the whole test suite ran."""

import platform
from importlib import metadata

from fishnet_mmdet.doctor.diagnosis import Diagnosis
from fishnet_mmdet.doctor.packages import takes_forks

TRIED: dict[tuple[str, str, str], str] = {
    ('3.10', 'openmmlab', '2.11.0'): '2026-11-29: 4084 passed, 1 failed',
    ('3.11', 'openmmlab', '2.11.0'): '2026-11-29: 4004 passed, 0 failed',
    ('3.12', 'openmmlab', '2.11.0'): '2026-11-29: 4029 passed, 0 failed',
    ('3.10', 'onedl', '2.11.0'): '2026-11-29: 4101 passed, 4 failed',
    ('3.11', 'onedl', '2.11.0'): '2026-11-29: 4076 passed, 1 failed',
    ('3.12', 'onedl', '2.11.0'): '2026-11-29: 4125 passed, 0 failed',
    ('3.13', 'onedl', '2.11.0'): '2026-11-29: 3993 passed, 0 failed',
    ('3.10', 'openmmlab', '2.14.1'): '2026-11-30: 4200 passed, 0 failed',
    ('3.11', 'openmmlab', '2.14.1'): '2026-11-30: 4200 passed, 0 failed',
    ('3.12', 'openmmlab', '2.14.1'): '2026-11-29: 4068 passed, 1 failed',
    ('3.10', 'onedl', '2.14.1'): '2026-11-30: 4216 passed, 1 failed',
    ('3.11', 'onedl', '2.14.1'): '2026-11-30: 4217 passed, 0 failed',
    ('3.12', 'onedl', '2.14.1'): '2026-11-30: 4208 passed, 2 failed',
    ('3.13', 'onedl', '2.14.1'): '2026-11-29: 4125 passed, 0 failed',
}
"""Python, family and torch with which the whole test suite ran -> date and result. `make matrix` writes it."""


def check_combination(name: str) -> Diagnosis:
    """Compares what is installed with the combinations that were tried: ``ok`` if no test failed, else ``note``."""
    python = '.'.join(platform.python_version_tuple()[:2])
    family = 'onedl' if takes_forks() else 'openmmlab'
    try:
        torch = metadata.version('torch').partition('+')[0]
    except metadata.PackageNotFoundError:
        torch = 'missing'
    text = f'Python {python}, {family}, torch {torch}'
    if result := TRIED.get((python, family, torch)):
        state = 'ok' if result.endswith(' 0 failed') else 'note'
        return Diagnosis(name, state, f'{text}: tried on {result}')
    tried = ', '.join(f'Python {p} with torch {t}' for p, f, t in TRIED if f == family)
    return Diagnosis(name, 'note', f'{text}: not tried' + (f'; with this family: {tried}' if tried else ''))
