"""The packages that a training needs, in two families, and the commands that install them."""

import re
import sys
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

ORIGINALS = {
    'mmengine': 'mmengine==0.10.7',
    'mmcv': 'mmcv==2.1.0',
    'mmdet': 'mmdet==3.3.0',
    'mmpretrain': 'mmpretrain==1.2.0',
    'mmseg': 'mmsegmentation==1.2.2 ftfy regex',
}
"""Import name -> what to install from OpenMMLab, in the tested versions."""

FORKS = {
    'mmengine': 'onedl-mmengine==0.10.12',
    'mmcv': 'onedl-mmcv==2.3.6',
    'mmdet': 'onedl-mmdetection==3.5.1',
    'mmpretrain': 'onedl-mmpretrain==1.3.6',
    'mmseg': 'onedl-mmsegmentation==1.4.2',
}
"""Import name -> what to install of OneDL's maintained forks, which keep the import names."""

FRAMEWORKS = {'mmdet': 'detectors', 'mmpretrain': 'classifiers', 'mmseg': 'segmentors'}
"""Packages of which at least one is needed -> the models that it trains."""

TORCH = 'pip install --force-reinstall torch==2.11.0 torchvision==0.26.0'
MMDET_NEEDS = 'it needs mmcv from 2.0.0rc4 up to, not including, 2.2.0'
FRESH = 'make a fresh environment, and install fishnet-mmdet there'


def fixes() -> dict[str, str]:
    """The fix for each check, with the packages of the family that is installed or that this Python needs."""
    packages = FORKS if takes_forks() else ORIGINALS
    build = rebuild(packages['mmcv'])
    return {
        'torch': TORCH,
        'torchvision': f'install both from one index: {TORCH}',
        **{name: f'pip install {packages[name]}' for name in ('mmengine', *FRAMEWORKS)},
        'mmdet': f'pip install {packages["mmdet"]}' + ('' if takes_forks() else f'  ({MMDET_NEEDS})'),
        'mmcv operators': build,
        'pycocotools': 'pip install --force-reinstall pycocotools==2.0.11',
        'fishnet_mmdet': 'first fix what failed above; then install fishnet-mmdet again',
        'gpu': f'build mmcv with the CUDA toolkit of the installed torch: export FORCE_CUDA=1, then {build}',
        'data': 'set COCO_ROOT=/path/to/coco, or run `fishnet-mmdet get-coco data/coco` or `fishnet-mmdet demo-data`',
    }


def rebuild(mmcv: str) -> str:
    """The command that builds mmcv for the installed torch."""
    return (
        f"{_compiler()}pip install 'setuptools>=77,<81' wheel ninja psutil && MMCV_WITH_OPS=1 pip install "
        f'--no-build-isolation --no-cache-dir --no-deps --force-reinstall {mmcv}'
    )


def _compiler() -> str:
    """Commands that set a compiler for the headers of the installed torch, if it needs one.

    mmcv asks for C++17 by name, and torch 2.14 refuses less than C++20. A compiler takes the last standard it is given.
    """
    spec = find_spec('torch')
    header = Path(spec.origin).parent / 'include/ATen/ATen.h' if spec and spec.origin else None
    asked = re.findall(r'C\+\+(\d\d) or later', header.read_text()) if header and header.is_file() else []
    if max(map(int, asked), default=17) <= 17:
        return ''
    script = f'\'#!/bin/sh\\nexec c++ "$@" -std=c++{max(asked)}\\n\''
    return f'printf {script} > cxx20 && chmod +x cxx20 && export CXX="$PWD/cxx20" && '


def install(packages: Sequence[str]) -> str:
    """The commands that install packages of one family; mmcv is built."""
    built = [package for package in packages if distribution(package).endswith('mmcv')]
    others = [package for package in packages if package not in built]
    commands = [f'pip install {" ".join(others)}'] if others else []
    return ' && '.join([*map(rebuild, built), *commands])


def takes_forks() -> bool:
    """Whether OneDL's forks are installed, or, without either family, needed: OpenMMLab's mmcv lacks Python 3.13."""
    there = installed()
    if there & {distribution(package) for package in FORKS.values()}:
        return True
    return not there & {distribution(p) for p in ORIGINALS.values()} and sys.version_info >= (3, 13)


def installed() -> set[str]:
    """Names of the installed distributions."""
    return {d.metadata['Name'].lower().replace('_', '-') for d in metadata.distributions() if d.metadata['Name']}


def distribution(requirement: str) -> str:
    """The name in a requirement such as 'mmcv==2.1.0'."""
    return requirement.partition('==')[0]
