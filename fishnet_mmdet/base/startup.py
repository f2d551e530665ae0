"""The start of a command's process: how torch's threads wait for each other, and the garbage collector during imports.

The console script runs this file without the package around it, before torch is loaded. So it needs only Python's
standard library.
"""

import gc
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

SPINS = '10000'
"""Turns of the loop in which a thread of torch waits for the others, before it gives its core away.

GNU's OpenMP library, which torch's Linux wheels bring along, takes 300,000 otherwise. Beside another busy process a
thread waits for one that has no core, and keeps that other one from getting it.
"""

OF_THE_USER = {'GOMP_SPINCOUNT', 'OMP_WAIT_POLICY'}
"""Variables with which a user decides. The library prefers the first to the second, so neither may be there."""


def share_cores(environment: MutableMapping[str, str]) -> None:
    """Makes torch's threads wait for each other briefly, unless the user has decided how they wait.

    It must come before torch is imported, since the library reads the variable when it is loaded. Child processes
    inherit it.

    Args:
        environment: `os.environ`; `GOMP_SPINCOUNT` is set in it.
    """
    if OF_THE_USER.isdisjoint(environment):
        environment['GOMP_SPINCOUNT'] = SPINS


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
    gc.disable()


@contextmanager
def collector_paused() -> Iterator[None]:
    """Context for imports. What they create stays, and searching it for garbage takes a fifth of their time."""
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
    if gc.get_freeze_count() or not gc.isenabled():
        gc.freeze()
        gc.enable()
