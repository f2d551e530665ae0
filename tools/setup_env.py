#!/usr/bin/env python
"""Builds the environment of `make demo` and `make test`: pinned, in a virtual environment, mmcv from source.

Needs Python and a C++ compiler, nothing installed. Does nothing where the environment is up to date.
"""

from __future__ import annotations  # so that an old Python gets as far as being told that it is old

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
MMCV = 'mmcv==2.1.0'
BUILD_TOOLS = ('pip', 'setuptools<81', 'wheel', 'ninja', 'psutil')  # mmcv's build needs pkg_resources
BUILD_LINE = re.compile(r'^\s*(\[\d+/\d+\])')
DESCRIBE_TORCH = """
import json, os, sys, torch
ops = 'cuda' if torch.cuda.is_available() or os.environ.get('FORCE_CUDA') == '1' else 'cpu'
print('-'.join([sys.implementation.cache_tag, 'torch', torch.__version__, f'cuda{torch.version.cuda}', ops]))
"""
TRY_STACK = 'import torch, torchvision, mmcv.ops, mmdet, mmengine, fishnet_mmdet'


class SetupError(RuntimeError):
    """Set-up cannot go on; the message says what is missing and how to get it."""


def main() -> None:
    """Parses the flags and sets up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('venv', type=Path, help='folder of the virtual environment')
    parser.add_argument('--torch', required=True, help='pip requirements of torch and torchvision, and pip flags')
    parser.add_argument('--wheels', type=Path, help='where built mmcv wheels are kept', default=_default_wheels())
    args = parser.parse_args()
    if sys.version_info < (3, 10):  # noqa: UP036 (a stranger's python3 may well be older)
        sys.exit(f'Python {sys.version.split()[0]} is too old; `make PYTHON=python3.11 ...` names a newer one')
    try:
        set_up(args.venv, args.torch.split(), args.wheels)
    except SetupError as error:
        sys.exit(f'set-up failed: {error}')


def set_up(folder: Path, torch_spec: list[str], wheels: Path) -> None:
    """Creates or completes the environment, then notes what it was made from."""
    folder = folder.absolute()  # commands below run from elsewhere
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
    _pip(python, 'install', '-c', str(REPO / 'constraints.txt'), '--no-build-isolation', '-e', extras)
    if not _runs(python, TRY_STACK, quiet=False):
        raise SetupError(f'the stack does not import; `{python} -m fishnet_mmdet.doctor` says why')
    stamp.write_text(recipe)
    _say('environment ready')


def install_mmcv(python: Path, wheels: Path) -> None:
    """Installs mmcv from a wheel built for exactly this Python, torch and CUDA, building it where there is none.

    pip's own cache does not know which torch a wheel was built for, and would install one that fails on import.
    """
    if _runs(python, 'import mmcv.ops'):
        return
    key = subprocess.run([python, '-c', DESCRIBE_TORCH], capture_output=True, text=True, check=True).stdout.strip()
    shelf = wheels / key
    for attempt in ('kept', 'rebuilt'):
        if attempt == 'rebuilt' or not list(shelf.glob('mmcv-*.whl')):
            _build_mmcv(python, shelf)
        (wheel,) = shelf.glob('mmcv-*.whl')
        _pip(
            python,
            'install',
            '-c',
            str(REPO / 'constraints.txt'),
            '--force-reinstall',
            '--no-deps',
            str(wheel),
        )
        _pip(python, 'install', '-c', str(REPO / 'constraints.txt'), str(wheel))
        if _runs(python, 'import mmcv.ops', quiet=attempt == 'kept'):
            return
    raise SetupError(f'mmcv was built for {key} but its operators do not import; the error stands above')


def _build_mmcv(python: Path, shelf: Path) -> None:
    _say(f'building {MMCV} from source for {shelf.name}: about 15 minutes on 2 cores, once')
    shutil.rmtree(shelf, ignore_errors=True)
    shelf.mkdir(parents=True)
    command = [python, '-m', 'pip', 'wheel', '-v', '--no-build-isolation', '--no-cache-dir', '--no-deps']
    # Python's own flags ask for debug symbols, which double the time and make the wheel ten times as large.
    flags = f'-g0 -O2 {os.environ.get("CFLAGS", "")}'
    environment = {**os.environ, 'MMCV_WITH_OPS': '1', 'CFLAGS': flags}
    environment['PATH'] = f'{python.parent.resolve()}{os.pathsep}{environment["PATH"]}'  # ninja lies there
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
        raise SetupError(f'mmcv did not build; the end of {log}:\n{tail}')


def _check_machine(wheels: Path) -> None:
    if any(wheels.glob('*/mmcv-*.whl')):
        return
    compiler = os.environ.get('CXX', '').split()[:1] or ['c++', 'g++', 'clang++']
    if not any(shutil.which(name) for name in compiler):
        raise SetupError('no C++ compiler, which mmcv needs; on Debian or Ubuntu: apt install g++')
    if not (Path(sysconfig.get_path('include')) / 'Python.h').is_file():
        raise SetupError('no Python.h, which mmcv needs; on Debian or Ubuntu: apt install python3-dev')


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
    # Quiet but for errors, and for the bars of large downloads where there is a terminal.
    quiet = [] if sys.stdout.isatty() else ['-q']
    if subprocess.run([*command, *quiet]).returncode:
        raise SetupError('pip failed; its reason stands above')


def _say(text: str) -> None:
    print(f'-- {text}', flush=True)


if __name__ == '__main__':
    main()
