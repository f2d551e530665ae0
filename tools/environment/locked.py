"""Installs what a lock names: files of the package index with exactly these SHA-256, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from environment.commands import SetupError, run_logged, say
from environment.families import Family

PIP = ('--no-input', '--disable-pip-version-check')
EXACT = ('--require-hashes', '--no-deps', '--no-build-isolation')
"""pip flags: no file without its hash, nothing that the lock does not name, no build tools from elsewhere."""

BUILD_TOOLS = ('setuptools', 'wheel', 'ninja', 'psutil')


def entries(lock: str) -> dict[str, str]:
    """The text of a lock for each package; a package may have several versions, for several Pythons."""
    found: dict[str, str] = {}
    for text in re.findall(r'^[\w.-]+==.*(?:\n +--hash=.*)*', lock, re.MULTILINE):
        name = text.partition('==')[0].lower()
        found[name] = f'{found.get(name, "")}{text}\n'
    return found


def check_torch(family: Family, torch_spec: list[str]) -> None:
    """Checks that the torch that is asked for is the one of the lock.

    Raises:
        SetupError: It is another one, or comes from another index, whose files have other hashes.
    """
    lock = entries(family.lock.read_text())
    locked = [re.match(r'[^\s;]+', lock[name])[0] for name in ('torch', 'torchvision')]
    if sorted(torch_spec) != locked:
        raise SetupError(
            f'LOCKED=1 installs {" ".join(locked)} from the package index, not TORCH_SPEC={" ".join(torch_spec)!r}: '
            'leave out one of the two'
        )


def mmcv_source(family: Family, folder: Path) -> Path:
    """Writes a requirements file for mmcv's source with its hash; the wheel is built from it."""
    return _write({family.mmcv: entries(family.lock.read_text())[family.mmcv]}, folder / f'{family.mmcv}.locked.txt')


def install_locked(python: Path, family: Family, folder: Path, log: Path) -> None:
    """Installs every package of the lock but mmcv: first the build tools, which packages without a wheel need.

    Args:
        python: Python of the virtual environment.
        family: Whose lock.
        folder: Where requirements files are written.
        log: Log of the set-up.

    Raises:
        SetupError: An installation failed, or a file has another hash.
    """
    lock = entries(family.lock.read_text())
    tools = {name: lock[name] for name in BUILD_TOOLS}
    rest = {name: text for name, text in lock.items() if name not in (*BUILD_TOOLS, family.mmcv)}
    for what, part in (('the build tools', tools), ('the packages', rest)):
        say(f'{what} of {family.lock.name}: {len(part)}, with their hashes')
        file = _write(part, folder / 'locked.txt')
        run_logged(f'installing {what}', [python, '-m', 'pip', 'install', *PIP, *EXACT, '-r', file], log)


def _write(part: dict[str, str], path: Path) -> Path:
    path.write_text(''.join(part.values()))
    return path
