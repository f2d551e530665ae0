"""The start of a command's process: how torch's threads wait, what malloc keeps, the garbage collector during imports.

The console script runs this file without the package around it, before torch is loaded. So it needs only Python's
standard library.
"""

import ctypes
import gc
import importlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager

SPINS = '10000'
"""Turns of the loop in which a thread of torch waits for the others, before it gives its core away.

GNU's OpenMP library, which torch's Linux wheels bring along, takes 300,000 otherwise. Beside another busy process a
thread waits for one that has no core, and keeps that other one from getting it.
"""

OF_THE_USER = {'GOMP_SPINCOUNT', 'OMP_WAIT_POLICY'}
"""Variables with which a user decides. The library prefers the first to the second, so neither may be there."""

RANKS = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
"""Environment variables in which torchrun, Slurm and mpirun give a process its rank."""

NOT_WHOLE = ('EOFError', 'UnpicklingError')
"""Errors of reading a pickle that is still being written, by name: this package imports no `pickle`."""

COMMAND = 'FISHNET_MMDET_COMMAND'
"""Variable with the id of the process that began as a command. Processes that it starts inherit an id not theirs."""

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Options of glibc's `mallopt`, from its malloc.h."""

MALLOC_OF_THE_USER = ('MALLOC_', 'GLIBC_TUNABLES', 'LD_PRELOAD')
"""Beginnings of the variables with which a user decides on malloc, or takes another one."""


def share_cores(environment: MutableMapping[str, str]) -> None:
    """Makes torch's threads wait for each other briefly, unless the user has decided how they wait.

    It must come before torch is imported, since the library reads the variable when it is loaded. Child processes
    inherit it.

    Args:
        environment: `os.environ`; `GOMP_SPINCOUNT` is set in it.
    """
    if OF_THE_USER.isdisjoint(environment):
        environment['GOMP_SPINCOUNT'] = SPINS


def keep_freed_memory(environment: Mapping[str, str]) -> bool:
    """Makes malloc keep the memory of large tensors when they are freed, unless the user has decided on malloc.

    torch takes the memory of CPU tensors from malloc. glibc's asks the system for each block of more than 32 MiB, and
    gives it back: each step then touches new pages, which the system has to clear first. With this, the process keeps
    what it has had once, which is its largest step. It is for processes that compute on the CPU. Like `keep_imports`,
    it does nothing outside of the process of a command.

    Args:
        environment: `os.environ`.

    Returns:
        Whether it did: not with another library than glibc.
    """
    if not _is_command(environment) or any(name.startswith(MALLOC_OF_THE_USER) for name in environment):
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if sys.platform == 'linux' else None
    return bool(mallopt and mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def is_run_as_module(package: str) -> bool:
    """Whether Python imports a package because it runs a module of it: `python -m PACKAGE` or `-m PACKAGE.MODULE`."""
    # This is what Python calls the program until it has found the module.
    if sys.argv[:1] != ['-m']:
        return False
    module = sys.orig_argv[-len(sys.argv)]
    return module.partition('.')[0].removeprefix('-m') == package


def begin(environment: MutableMapping[str, str]) -> None:
    """Prepares the process of a command: `share_cores`, and no garbage collection until `keep_imports`."""
    share_cores(environment)
    environment[COMMAND] = str(os.getpid())
    gc.disable()


def import_yapf(environment: Mapping[str, str], attempts: int = 50) -> None:
    """Imports yapf, in processes that start together, as often as it takes; elsewhere does nothing.

    yapf keeps its grammar in the user's cache folder, and gives the file its name before the content is written. After
    an installation, or in a new container, one process writes the file while others read it and end in an `EOFError`.
    MMEngine imports yapf for its configs: https://github.com/open-mmlab/mmengine/issues/1480.

    Args:
        environment: `os.environ`.
        attempts: How often it is tried, a tenth of a second apart. Then the error is left to whoever imports it next,
            as is any other error.
    """
    if not any(name in environment for name in RANKS):
        return
    for _ in range(attempts):
        try:
            importlib.import_module('yapf.yapflib.yapf_api')
            return
        except Exception as error:
            if type(error).__name__ not in NOT_WHOLE:
                return
            time.sleep(0.1)


def _is_command(environment: Mapping[str, str]) -> bool:
    return environment.get(COMMAND) == str(os.getpid())


@contextmanager
def collector_paused() -> Iterator[None]:
    """Context without garbage collection, for work that creates many objects without cycles.

    The searches in vain would take a fifth of the time of the imports, and half of that of reading a large JSON file.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def keep_imports() -> None:
    """Exempts all that was imported from garbage collection, in the process of a command; elsewhere does nothing.

    MMEngine collects garbage for every data set that it builds, and would search everything that the packages have
    created each time. A collection in a loader worker would also copy the pages that it shares with the trainer.
    """
    if _is_command(os.environ):
        gc.freeze()
        gc.enable()
