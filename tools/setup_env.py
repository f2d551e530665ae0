#!/usr/bin/env python
"""Creates the environment of `make demo` and `make test`: pinned versions in a virtual environment, mmcv from source.

Needs Python and a C++ compiler, and no installed packages. Does nothing if the environment is up to date.
"""

# With this, an old Python reaches the message that it is too old.
from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
CONSTRAINTS = ('-c', str(REPO / 'constraints.txt'))
MMCV = 'mmcv==2.1.0'
BUILD_TOOLS = ('pip', 'setuptools<81', 'wheel', 'ninja', 'psutil')
"""Packages for the build of mmcv, which needs the pkg_resources of an older setuptools."""

BUILD_LINE = re.compile(r'^\s*(\[\d+/\d+\])')
"""ninja's progress in the output of the build, such as [12/180]."""

DESCRIBE_TORCH = """
import json, os, sys, torch
ops = 'cuda' if torch.cuda.is_available() or os.environ.get('FORCE_CUDA') == '1' else 'cpu'
print('-'.join([sys.implementation.cache_tag, 'torch', torch.__version__, f'cuda{torch.version.cuda}', ops]))
"""
"""Code that prints what a wheel of mmcv was built for: Python, torch, CUDA, and whether it has CUDA operators."""

TRY_STACK = 'import torch, torchvision, mmcv.ops, mmdet, mmengine, fishnet_mmdet'
"""Code that fails if the environment does not work."""


class SetupError(RuntimeError):
    """The set-up cannot continue; the message says what is missing and how to install it."""


def main() -> None:
    """Parses the arguments and sets up the environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('venv', type=Path, help='folder of the virtual environment')
    parser.add_argument('--torch', required=True, help='pip requirements for torch and torchvision, and pip flags')
    parser.add_argument(
        '--wheels',
        type=Path,
        default=_default_wheels(),
        help='folder that keeps built wheels of mmcv (default: %(default)s)',
    )
    args = parser.parse_args()
    # The Python that runs this file may be older than the one that the package requires.
    if sys.version_info < (3, 10):  # noqa: UP036
        sys.exit(f'Python {sys.version.split()[0]} is too old; use a newer one: make PYTHON=python3.11 ...')
    try:
        set_up(args.venv, args.torch.split(), args.wheels)
    except SetupError as error:
        sys.exit(f'set-up failed: {error}')


def set_up(folder: Path, torch_spec: list[str], wheels: Path) -> None:
    """Creates or completes the environment, and records its requirements in a file.

    Args:
        folder: Folder of the virtual environment.
        torch_spec: pip requirements for torch and torchvision, and pip flags.
        wheels: Folder that keeps built wheels of mmcv.

    Raises:
        SetupError: Something is missing, or an installation failed.
    """
    # Commands below run in other folders.
    folder = folder.absolute()
    stamp = folder / 'fishnet_setup.json'
    recipe = json.dumps({'torch': torch_spec, 'python': sys.version, 'inputs': _fingerprint()})
    python = folder / 'bin' / 'python'
    if stamp.is_file() and stamp.read_text() == recipe and _runs(python, TRY_STACK):
        print(f'environment in {folder} is up to date')
        return
    _check_machine(wheels)
    stamp.unlink(missing_ok=True)
    if not _runs(python, 'import pip'):
        _say(f'creating {folder}')
        venv.create(folder, with_pip=True, clear=folder.exists())
    _pip(python, 'install', '--upgrade', *BUILD_TOOLS)
    _pip(python, 'install', *torch_spec)
    install_mmcv(python, wheels)
    extras = f'{REPO}[openmmlab,test]'
    _pip(python, 'install', *CONSTRAINTS, '--no-build-isolation', '-e', extras)
    if not _runs(python, TRY_STACK, quiet=False):
        raise SetupError(
            f'the installed packages cannot be imported; to see why, run: {python} {REPO}/fishnet_mmdet/doctor.py'
        )
    stamp.write_text(recipe)
    _say('environment ready')


def install_mmcv(python: Path, wheels: Path) -> None:
    """Installs mmcv from a wheel for exactly this Python, torch and CUDA; builds the wheel if there is none.

    pip's cache does not distinguish wheels by the torch that they were built for. A wheel from it may fail on import.

    Args:
        python: Python of the virtual environment.
        wheels: Folder that keeps built wheels, in one folder for each combination.

    Raises:
        SetupError: mmcv does not build, or cannot be imported.
    """
    if _runs(python, 'import mmcv.ops'):
        return
    key = subprocess.run([python, '-c', DESCRIBE_TORCH], capture_output=True, text=True, check=True).stdout.strip()
    shelf = wheels / key
    for attempt in ('kept', 'rebuilt'):
        if attempt == 'rebuilt' or not list(shelf.glob('mmcv-*.whl')):
            _build_mmcv(python, shelf)
        (wheel,) = shelf.glob('mmcv-*.whl')
        _pip(python, 'install', *CONSTRAINTS, '--force-reinstall', '--no-deps', str(wheel))
        _pip(python, 'install', *CONSTRAINTS, str(wheel))
        if _runs(python, 'import mmcv.ops', quiet=attempt == 'kept'):
            return
    raise SetupError(f'mmcv was built for {key}, but its operators cannot be imported; see the error above')


def _build_mmcv(python: Path, shelf: Path) -> None:
    _say(f'building {MMCV} from source for {shelf.name}: about 15 minutes on 2 cores, once')
    shutil.rmtree(shelf, ignore_errors=True)
    shelf.mkdir(parents=True)
    command = [python, '-m', 'pip', 'wheel', '-v', '--no-build-isolation', '--no-cache-dir', '--no-deps']
    # Python's own flags add debug symbols, which double the build time and make the wheel ten times as large.
    flags = f'-g0 -O2 {os.environ.get("CFLAGS", "")}'
    environment = {**os.environ, 'MMCV_WITH_OPS': '1', 'CFLAGS': flags}
    # The folder of ninja.
    environment['PATH'] = f'{python.parent.resolve()}{os.pathsep}{environment["PATH"]}'
    log = shelf / 'build.log'
    with log.open('w') as file:
        build = subprocess.Popen(
            [*command, '-w', shelf, MMCV],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for line in build.stdout:
            file.write(line)
            if step := BUILD_LINE.match(line):
                print(f'\rmmcv {step[1]} ', end='', flush=True)
    print()
    if build.wait():
        tail = ''.join(log.read_text().splitlines(keepends=True)[-30:])
        raise SetupError(f'mmcv did not build. The end of {log}:\n{tail}')


def _check_machine(wheels: Path) -> None:
    if any(wheels.glob('*/mmcv-*.whl')):
        return
    compiler = os.environ.get('CXX', '').split()[:1] or ['c++', 'g++', 'clang++']
    if not any(shutil.which(name) for name in compiler):
        raise SetupError('no C++ compiler found, which the build of mmcv needs; on Debian or Ubuntu: apt install g++')
    if not (Path(sysconfig.get_path('include')) / 'Python.h').is_file():
        raise SetupError(
            'no Python.h found, which the build of mmcv needs; on Debian or Ubuntu: apt install python3-dev'
        )


def _fingerprint() -> str:
    inputs = (REPO / 'pyproject.toml', REPO / 'constraints.txt', Path(__file__))
    return hashlib.sha256(b''.join(path.read_bytes() for path in inputs) + str(REPO).encode()).hexdigest()


def _default_wheels() -> Path:
    cache = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(cache) / 'fishnet_mmdet' / 'wheels'


def _runs(python: Path, code: str, quiet: bool = True) -> bool:
    output = subprocess.DEVNULL if quiet else None
    try:
        return subprocess.run([python, '-c', code], stdout=output, stderr=output, cwd='/').returncode == 0
    except OSError:
        return False


def _pip(python: Path, *arguments: str) -> None:
    _say(f'pip {" ".join(arguments)}')
    command = [python, '-m', 'pip', *arguments, '--no-input', '--disable-pip-version-check']
    # Only errors are shown, and progress bars of downloads if there is a terminal.
    quiet = [] if sys.stdout.isatty() else ['-q']
    if subprocess.run([*command, *quiet]).returncode:
        raise SetupError('pip failed; see its message above')


def _say(text: str) -> None:
    print(f'-- {text}', flush=True)


if __name__ == '__main__':
    main()
