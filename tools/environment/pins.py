"""Writes the pins and locks of both families and of the documentation to `constraints/`, for all Pythons, with uv."""

from __future__ import annotations

import argparse
import ast
import os
import re
import sys
import tempfile
import venv
from pathlib import Path

from environment.commands import SetupError, run_logged, say
from environment.families import FAMILIES, REPO, Family

BUILD_TOOLS = ('setuptools>=77,<81', 'wheel', 'ninja', 'psutil')
"""For the builds of mmcv: OpenMMLab's needs the pkg_resources of an older setuptools, OneDL's license field a newer."""

HEADER = """\
# Written by `make pins`. Every package of the environment of `make setup STACK={family}`, but for torch, torchvision
# (TORCH_SPEC) and what torch brings.
"""

DOCS_LOCK = REPO / 'constraints' / 'docs.lock'
DOCS_HEADER = """\
# Written by `make pins`. Every package of the environment of `make docs`, the extra `docs` of pyproject.toml, with the
# SHA-256 of each file of the package index that may be installed.
"""

LOCK_HEADER = """\
# Written by `make pins`. Every package of the environment of `make setup STACK={family} LOCKED=1`, with the SHA-256 of
# each file of the package index that may be installed.
"""


def main() -> None:
    """Parses the arguments and writes the pins of every family."""
    parser = argparse.ArgumentParser(
        description='Writes constraints/ from pyproject.toml, with uv in a temporary environment. Needs a Python '
        "on which OpenMMLab's packages can be built, and the network."
    )
    parser.add_argument('--torch', required=True, help='pip requirements for torch and torchvision')
    parser.add_argument('--upgrade', action='store_true', help='take the newest versions; default: keep what is pinned')
    args = parser.parse_args()
    torch = [word for word in args.torch.split() if '==' in word]
    with tempfile.TemporaryDirectory() as folder:
        try:
            write_pins(torch, args.upgrade, Path(folder))
        except SetupError as error:
            # The log goes with the temporary folder.
            sys.exit(f'pins were not written: {error}\n{_tail(Path(folder) / "log")}')


def write_pins(torch: list[str], upgrade: bool, folder: Path) -> None:
    """Resolves and writes the pins of every family.

    Args:
        torch: Pinned requirements of torch and torchvision.
        upgrade: Whether to take the newest versions. Default: those that are pinned, as far as they still fit.
        folder: An empty folder.

    Raises:
        SetupError: The requirements cannot be resolved.
    """
    say('installing uv')
    venv.create(folder / 'venv', with_pip=True)
    python, log = folder / 'venv' / 'bin' / 'python', folder / 'log'
    run_logged('installing uv', [python, '-m', 'pip', 'install', '--no-input', 'uv'], log)
    (folder / 'torch.txt').write_text('\n'.join(torch))
    (folder / 'build.txt').write_text('\n'.join(BUILD_TOOLS))
    compile_ = [
        folder / 'venv' / 'bin' / 'uv', 'pip', 'compile', '--universal', '--python-version', '3.10', '-p',
        sys.executable, '--no-annotate', '--no-header', '-c', folder / 'torch.txt', '--build-constraints',
        folder / 'build.txt', *(['--upgrade'] if upgrade else []),
    ]  # fmt: skip
    environment = {'SSL_CERT_FILE': os.environ['PIP_CERT']} if 'PIP_CERT' in os.environ else {}
    alone = next(word for word in torch if word.startswith('torch=='))
    (folder / 'alone.in').write_text(alone)
    brought = folder / 'brought.txt'
    run_logged('resolving torch', [*compile_, folder / 'alone.in', '-o', brought], log, environment)
    for family in FAMILIES.values():
        say(f'resolving {family.title}')
        extra = f'test-{family.name}'
        resolved = folder / f'{family.name}.txt'
        # uv keeps the versions that it finds there; those of the first family, where a family has none yet.
        kept = family.constraints if family.constraints.exists() else next(iter(FAMILIES.values())).constraints
        resolved.write_text(kept.read_text())
        inputs = [REPO / 'pyproject.toml', '--extra', extra, folder / 'build.txt']
        run_logged(f'resolving {family.title}', [*compile_, *inputs, '-o', resolved], log, environment)
        family.constraints.write_text(render(family, resolved.read_text(), brought.read_text()))
        locked = folder / f'{family.name}.lock.txt'
        locked.write_text(resolved.read_text())
        pinned = ['-c', family.constraints, '--generate-hashes']
        run_logged('locking', [*compile_, *inputs, folder / 'torch.txt', *pinned, '-o', locked], log, environment)
        family.lock.write_text(LOCK_HEADER.format(family=family.name) + locked.read_text())
        say(f'{family.constraints}: {len(names(family.constraints.read_text()))} packages, and {family.lock}')
    lock_docs(compile_, folder, log, environment)


def lock_docs(compile_: list[str | Path], folder: Path, log: Path, environment: dict[str, str]) -> None:
    """Resolves and writes the lock of the documentation's environment, which holds neither torch nor the package.

    Args:
        compile_: The command of the resolver.
        folder: An empty folder.
        log: Log to append to.
        environment: Variables for the resolver.

    Raises:
        SetupError: The requirements cannot be resolved.
    """
    say('resolving the documentation')
    (listed,) = re.findall(r'^docs = (\[.*\])$', (REPO / 'pyproject.toml').read_text(), re.MULTILINE)
    (folder / 'docs.in').write_text('\n'.join(ast.literal_eval(listed)))
    resolved = folder / 'docs.txt'
    if DOCS_LOCK.exists():
        resolved.write_text(DOCS_LOCK.read_text())
    command = [*compile_, folder / 'docs.in', '--generate-hashes', '-o', resolved]
    run_logged('resolving the documentation', command, log, environment)
    DOCS_LOCK.write_text(DOCS_HEADER + resolved.read_text())
    say(f'{DOCS_LOCK}: {len(names(DOCS_LOCK.read_text()))} packages')


def render(family: Family, resolved: str, brought: str) -> str:
    """The text of `constraints/NAME.txt`.

    Args:
        family: Whose pins.
        resolved: What uv resolved for the family.
        brought: What uv resolved for torch alone. Another torch (TORCH_SPEC) brings other versions, so these packages
            are not pinned, but for those that the builds need.
    """
    left_out = names(brought) | {'torchvision'}
    left_out -= {re.match(r'[\w-]+', tool)[0] for tool in BUILD_TOOLS}
    kept = [line for line in resolved.splitlines() if names(line) - left_out]
    return HEADER.format(family=family.name) + '\n'.join(kept) + '\n'


def names(pins: str) -> set[str]:
    """The packages that a file of pins names."""
    return set(re.findall(r'^([\w.-]+)==', pins, re.MULTILINE))


def _tail(log: Path) -> str:
    try:
        return ''.join(log.read_text().splitlines(keepends=True)[-20:])
    except OSError as error:
        return str(error)
