"""The two families of packages: OpenMMLab's originals and their maintained forks, which keep the import names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from environment.commands import SetupError

REPO = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Family:
    """A family of packages.

    Attributes:
        name: As in STACK=, in `constraints/NAME.txt` and in the extra `test-NAME` of pyproject.toml.
        title: What people call it.
        pythons: The first and the last Python that its packages are known to run on.
        mmcv: The distribution of mmcv, the package that has to be compiled.
    """

    name: str
    title: str
    pythons: tuple[tuple[int, int], tuple[int, int]]
    mmcv: str

    def takes(self, version: tuple[int, int]) -> bool:
        """Whether its packages run on this version of Python."""
        return self.pythons[0] <= version <= self.pythons[1]

    @property
    def constraints(self) -> Path:
        """The pins of every package of its environment."""
        return REPO / 'constraints' / f'{self.name}.txt'

    @property
    def lock(self) -> Path:
        """Every package of its environment, torch included, with the SHA-256 of each file that may be installed."""
        return REPO / 'constraints' / f'{self.name}.lock'

    @property
    def mmcv_version(self) -> str:
        """The pinned version of mmcv."""
        return re.search(rf'^{re.escape(self.mmcv)}==(\S+)', self.constraints.read_text(), re.MULTILINE)[1]


FAMILIES = {
    family.name: family
    for family in (
        Family('openmmlab', 'OpenMMLab', ((3, 10), (3, 12)), 'mmcv'),
        Family('onedl', 'OneDL', ((3, 10), (3, 13)), 'onedl-mmcv'),
    )
}
"""In order of preference."""


def choose(stack: str, version: tuple[int, int], any_python: bool = False) -> tuple[Family, str]:
    """Chooses the family for a version of Python.

    Args:
        stack: Name of a family, or 'auto' for the first one that runs on this Python.
        version: Major and minor number.
        any_python: Whether versions outside the known range are taken too.

    Returns:
        The family, and a line that says why if it is not the preferred one; empty otherwise.

    Raises:
        SetupError: The name is unknown, or the packages do not run on this Python.
    """
    if stack != 'auto' and stack not in FAMILIES:
        raise SetupError(f'STACK={stack} is not known; take STACK={" or STACK=".join(FAMILIES)}')
    python = '.'.join(map(str, version))
    taking = [family for family in FAMILIES.values() if family.takes(version)]
    if not taking and not any_python:
        raise SetupError(
            f'Python {python} is not supported: {_ranges()}. For example: make PYTHON=python3.12 '
            '(ANY_PYTHON=1 tries it all the same)'
        )
    if stack == 'auto':
        family = taking[0] if taking else list(FAMILIES.values())[-1]
        preferred = next(iter(FAMILIES.values()))
        skipped = family is not preferred
        note = f"{preferred.title}'s packages cannot be built on Python {python}: taking their forks, {family.title}"
        return family, note if skipped else ''
    family = FAMILIES[stack]
    if not family.takes(version) and not any_python:
        others = ' or '.join(f'STACK={other.name}' for other in taking)
        raise SetupError(
            f"{family.title}'s packages cannot be built on Python {python}: {_ranges()}. Take {others}, or another "
            'Python: make PYTHON=python3.12 (ANY_PYTHON=1 tries it all the same)'
        )
    return family, ''


def _ranges() -> str:
    def text(version: tuple[int, int]) -> str:
        return '.'.join(map(str, version))

    return ', '.join(f'{f.title} runs on {text(f.pythons[0])} to {text(f.pythons[1])}' for f in FAMILIES.values())
