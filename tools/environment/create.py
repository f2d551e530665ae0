"""Creates and completes the virtual environment, and records what it holds."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from environment.commands import SetupError, failure, run_logged, runs, say
from environment.families import FAMILIES, REPO, Family
from environment.locked import check_torch, install_locked, mmcv_source
from environment.wheels import check_compiler, install_mmcv

BUILD_TOOLS = ('pip', 'setuptools', 'wheel', 'ninja', 'psutil')
"""Packages for the build of mmcv and for pip's editable installation."""

TRY_STACK = 'import torch, torchvision, mmcv.ops, mmdet, mmengine, fishnet_mmdet'
"""Code that fails if the environment does not work."""

RECORD = 'fishnet_setup.json'
LOG = 'fishnet_setup.log'


@dataclass(frozen=True)
class Record:
    """What an environment that this set-up made holds; a file in its folder.

    Attributes:
        python: Major and minor version, such as '3.11'.
        family: Name of the family of packages.
        recipe: What it was made from; None while it is incomplete.
    """

    python: str
    family: str
    recipe: str | None

    @staticmethod
    def read(folder: Path) -> Record | None:
        """The record of an environment; None if this set-up did not make it."""
        try:
            content = json.loads((folder / RECORD).read_text())
            # Earlier set-ups knew one family, and recorded `sys.version`.
            python = '.'.join(content['python'].split('.')[:2])
            return Record(python, content.get('family', 'openmmlab'), content.get('recipe'))
        except (OSError, ValueError, KeyError):
            return None

    def write(self, folder: Path) -> None:
        """Writes the record."""
        (folder / RECORD).write_text(json.dumps(vars(self)))


def set_up(
    folder: Path, family: Family, torch_spec: list[str], wheels: Path, note: str = '', locked: bool = False
) -> None:
    """Creates or completes the environment.

    An environment of another Python or family in the same folder is made again; a folder that this set-up did not make
    is refused.

    Args:
        folder: Folder of the virtual environment.
        family: Whose packages to install.
        torch_spec: pip requirements for torch and torchvision, and pip flags.
        wheels: Folder that keeps built wheels of mmcv.
        note: Line to print before anything is installed.
        locked: Whether to install only files whose hash the lock of the family names.

    Raises:
        SetupError: Something is missing, or an installation failed.
    """
    # Commands below run in other folders.
    folder = folder.absolute()
    python, log = folder / 'bin' / 'python', folder / LOG
    version = '{}.{}'.format(*sys.version_info[:2])
    there = Record.read(folder)
    if locked:
        check_torch(family, torch_spec)
    whole = Record(version, family.name, recipe(family, torch_spec, locked))
    if there == whole and runs(python, TRY_STACK):
        print(f'environment in {folder} is up to date: Python {version}, {family.title}')
        return
    _check_folder(folder, there)
    check_compiler(family, wheels)
    if note:
        say(note)
    incomplete = Record(version, family.name, None)
    if not there or (there.python, there.family) != (version, family.name) or not runs(python, 'import pip'):
        _create(folder, there, incomplete)
    incomplete.write(folder)
    log.unlink(missing_ok=True)
    if locked:
        _install_locked(python, family, wheels, folder, log)
    else:
        _install(python, family, torch_spec, wheels, log)
    if reason := failure(python, TRY_STACK):
        raise SetupError(
            f'the installed packages cannot be imported ({reason}); to see why, run: '
            f'{python} {REPO}/fishnet_mmdet/doctor'
        )
    whole.write(folder)
    say(f'environment ready in {folder}: Python {version}, {family.title}')


def recipe(family: Family, torch_spec: list[str], locked: bool = False) -> str:
    """What an environment is made from, as a hash: a change of it makes the set-up run again."""
    files = [
        REPO / 'pyproject.toml',
        REPO / 'setup.py',
        family.lock if locked else family.constraints,
        *(Path(__file__).with_name(f'{name}.py') for name in ('create', 'families', 'locked', 'wheels')),
    ]
    inputs = b''.join(path.read_bytes() for path in files) + json.dumps([torch_spec, sys.version, str(REPO)]).encode()
    return hashlib.sha256(inputs).hexdigest()


def _check_folder(folder: Path, there: Record | None) -> None:
    """Refuses what would fail after minutes, or would destroy what somebody else made."""
    if folder.exists() and not there and (not folder.is_dir() or any(folder.iterdir())):
        raise SetupError(
            f'{folder} exists and was not made by this set-up: choose another folder (make VENV=...), or remove it'
        )
    if importlib.util.find_spec('ensurepip') is None:
        raise SetupError(
            'this Python cannot make environments: it lacks ensurepip; on Debian or Ubuntu: apt install python3-venv'
        )


def _create(folder: Path, there: Record | None, incomplete: Record) -> None:
    if there:
        say(
            f'{folder} holds Python {there.python} with {FAMILIES[there.family].title}: making it again '
            '(to keep several environments, give each a folder: make VENV=...)'
        )
        shutil.rmtree(folder)
    else:
        say(f'creating {folder}')
    try:
        # First the record: an interrupted set-up leaves a folder that the next one knows.
        folder.mkdir(parents=True, exist_ok=True)
        incomplete.write(folder)
        venv.create(folder, with_pip=True)
    except Exception as error:  # ensurepip is a process of its own
        shutil.rmtree(folder, ignore_errors=True)
        raise SetupError(
            f'Python could not create {folder} ({error}); on Debian or Ubuntu: apt install python3-venv'
        ) from error


def _install(python: Path, family: Family, torch_spec: list[str], wheels: Path, log: Path) -> None:
    def pip(what: str, *arguments: str) -> None:
        say(f'pip install {" ".join(arguments)}')
        command = [python, '-m', 'pip', 'install', '--no-input', '--disable-pip-version-check']
        run_logged(what, [*command, '-c', family.constraints, *arguments], log)

    pip('installing the build tools', '--upgrade', *BUILD_TOOLS)
    pip('installing torch', *torch_spec)
    install_mmcv(python, family, wheels, log)
    pip("installing the family's packages", '--no-build-isolation', '-e', f'{REPO}[test-{family.name}]')


def _install_locked(python: Path, family: Family, wheels: Path, folder: Path, log: Path) -> None:
    install_locked(python, family, folder, log)
    install_mmcv(python, family, wheels, log, mmcv_source(family, folder))
    say('pip install -e, without dependencies: all are there')
    own = [python, '-m', 'pip', 'install', '--no-input', '--no-deps', '--no-build-isolation', '-e', REPO]
    run_logged('installing fishnet-mmdet', own, log)
