"""Which module a line comes from: frameworks say much that only a log file needs."""

import sys

FRAMEWORKS = ('mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'mmseg')
BETWEEN = ('logging', 'mmengine.logging', 'wandb', __name__.rpartition('.')[0])
"""Modules through which a line goes on its way; Weights & Biases wraps standard output."""


def calling_module() -> str:
    """Name of the module that logs or prints: the nearest caller outside of `BETWEEN`."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get('__name__', '')
        if not is_part_of(name, BETWEEN):
            return name
        frame = frame.f_back
    return ''


def is_part_of(module: str, packages: tuple[str, ...]) -> bool:
    """Whether a module is one of some packages or lies in one."""
    return any(module == package or module.startswith(f'{package}.') for package in packages)
