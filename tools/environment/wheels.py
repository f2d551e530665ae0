"""Wheels of mmcv, built from source and kept, for each Python, torch, CUDA and family."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from environment.commands import SetupError, failure, run_logged, runs, say
from environment.families import Family

DESCRIBE_TORCH = """
import os, sys, torch
ops = 'cuda' if torch.cuda.is_available() or os.environ.get('FORCE_CUDA') == '1' else 'cpu'
if ops == 'cuda':
    archs = os.environ.get('TORCH_CUDA_ARCH_LIST', '').replace(';', ' ').split() or sorted(
        {'%d.%d' % torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())})
    ops = '_'.join([ops, *archs])
print('-'.join([sys.implementation.cache_tag, 'torch', torch.__version__, f'cuda{torch.version.cuda}', ops]))
"""
"""Code that prints what a wheel was built for: Python, torch, CUDA, and which GPUs it has operators for, if any."""


def default_wheels() -> Path:
    """The folder that keeps wheels from one set-up to the next."""
    cache = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(cache) / 'fishnet_mmdet' / 'wheels'


def check_compiler(family: Family, wheels: Path) -> None:
    """Checks that mmcv can be compiled, unless a wheel for this Python and family is kept.

    Raises:
        SetupError: The compiler or Python's headers are missing.
    """
    if any(wheels.glob(f'{sys.implementation.cache_tag}-*/{_pattern(family)}')):
        return
    compiler = os.environ.get('CXX', '').split()[:1] or ['c++', 'g++', 'clang++']
    if not any(shutil.which(name) for name in compiler):
        raise SetupError('no C++ compiler found, which the build of mmcv needs; on Debian or Ubuntu: apt install g++')
    if not (Path(sysconfig.get_path('include')) / 'Python.h').is_file():
        raise SetupError(
            'no Python.h found, which the build of mmcv needs; on Debian or Ubuntu: apt install python3-dev'
        )


def install_mmcv(python: Path, family: Family, wheels: Path, log: Path, source: Path | None = None) -> None:
    """Installs mmcv from a wheel for exactly this Python, torch and CUDA; builds the wheel if there is none.

    pip's cache does not distinguish wheels by the torch that they were built for. A wheel from it may fail on import.

    Args:
        python: Python of the virtual environment.
        family: Whose mmcv.
        wheels: Folder that keeps built wheels, in one folder for each combination of Python, torch and CUDA. The names
            of the wheels tell the families and versions apart.
        log: Log of the set-up.
        source: Requirements file for the source to build from, with its hash. Default: what the index has.

    Raises:
        SetupError: mmcv does not build, or cannot be imported.
    """
    probe = f'import mmcv.ops; from importlib.metadata import version as v; assert v({family.mmcv!r}) == '
    if runs(python, probe + repr(family.mmcv_version)):
        return
    describe = subprocess.run([python, '-c', DESCRIBE_TORCH], capture_output=True, text=True)
    if describe.returncode:
        line = (describe.stderr.strip().splitlines() or [f'exit status {describe.returncode}'])[-1]
        raise SetupError(f'the installed torch does not run ({line}); choose another: make TORCH_SPEC=...')
    shelf = wheels / describe.stdout.split()[-1]
    pip = [python, '-m', 'pip', 'install', '--no-input', '-c', family.constraints]
    for attempt in ('kept', 'rebuilt'):
        found = sorted(shelf.glob(_pattern(family)))
        if attempt == 'rebuilt' or not found:
            _build(python, family, shelf, source)
            found = sorted(shelf.glob(_pattern(family)))
        else:
            say(f'mmcv from {found[-1]}')
        run_logged('installing mmcv', [*pip, '--force-reinstall', '--no-deps', found[-1]], log)
        run_logged('installing what mmcv needs', [*pip, found[-1]], log)
        reason = failure(python, 'import mmcv.ops')
        if not reason:
            return
    raise SetupError(f'mmcv was built for {shelf.name}, but its operators cannot be imported: {reason}')


def _pattern(family: Family) -> str:
    """The name of a wheel, but for the tags of its platform."""
    return f'{family.mmcv.replace("-", "_")}-{family.mmcv_version}-*.whl'


def _build(python: Path, family: Family, shelf: Path, source: Path | None) -> None:
    requirement = f'{family.mmcv}=={family.mmcv_version}'
    say(f'building {requirement} from source for {shelf.name}: 10 to 25 minutes on 2 cores, once')
    shelf.mkdir(parents=True, exist_ok=True)
    for old in shelf.glob(_pattern(family)):
        old.unlink()
    # Beside the shelf first: an interrupted build leaves no half wheel.
    fresh = shelf / f'building-{os.getpid()}'
    # Python's own flags add debug symbols, which double the build time and make the wheel ten times as large.
    environment = {'MMCV_WITH_OPS': '1', 'CFLAGS': f'-g0 -O2 {os.environ.get("CFLAGS", "")}'}
    # The folder of ninja.
    environment['PATH'] = f'{python.parent.resolve()}{os.pathsep}{os.environ["PATH"]}'
    environment |= _compiler(python, fresh)
    log = shelf / f'build-{requirement}.log'
    log.unlink(missing_ok=True)
    command = [python, '-m', 'pip', 'wheel', '-v', '--no-build-isolation', '--no-cache-dir', '--no-deps', '--no-input']
    try:
        what = ['--require-hashes', '-r', source] if source else [requirement]
        run_logged('building mmcv', [*command, '-w', fresh, *what], log, environment)
        for wheel in fresh.glob('*.whl'):
            os.replace(wheel, shelf / wheel.name)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _compiler(python: Path, folder: Path) -> dict[str, str]:
    """Names the compiler for the headers of the installed torch, in the variable `CXX`; nothing if any will do.

    The setup.py of mmcv asks for C++17, also in OneDL's. Torch 2.14 refuses to be compiled with less than C++20.
    """
    headers = python.parent.parent.glob('lib/python*/site-packages/torch/include/ATen/ATen.h')
    asked = [int(year) for header in headers for year in re.findall(r'C\+\+(\d\d) or later', header.read_text())]
    if max(asked, default=17) <= 17:
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / 'c++'
    # A compiler takes the last standard that it is given.
    script.write_text(f'#!/bin/sh\nexec {os.environ.get("CXX", "c++")} "$@" -std=c++{max(asked)}\n')
    script.chmod(0o755)
    return {'CXX': str(script)}
