"""Signal handlers of this process alone: a forked child gets back what was there before them.

A worker of `multiprocessing.Pool` that kept the trainer's handler would survive the SIGTERM with which `Pool.terminate`
ends it, and the trainer would wait for it for ever.
"""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

Handler = Callable[[int, FrameType | None], object]

_installed: list[tuple[int, Handler, object]] = []
"""Signal, our handler and the former one of each installation; the latest is the last."""

_masks = threading.local()
"""In the thread that forks: its signal mask from before."""


def install(number: int, handler: Handler) -> None:
    """Installs a handler until `uninstall`, in this process only. Call it in the main thread.

    Args:
        number: The signal.
        handler: The handler.
    """
    _installed.append((number, handler, signal.signal(number, handler)))


def uninstall(handler: Handler) -> None:
    """Removes a handler from all its signals, with all that were installed by `install` after it."""
    while any(own == handler for _, own, _ in _installed):
        _remove_latest()


def _remove_latest() -> None:
    number, own, former = _installed.pop()
    # Somebody else may have installed another one since.
    if signal.getsignal(number) == own:
        # None: the former handler was not installed from Python, which cannot restore it.
        signal.signal(number, signal.SIG_DFL if former is None else former)


def _before_fork() -> None:
    """Holds the signals back: one that reached the child before its handlers are restored would be lost."""
    if _installed:
        numbers = {number for number, _, _ in _installed}
        _masks.former = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)


def _after_fork() -> None:
    former = _masks.__dict__.pop('former', None)
    if former is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _after_fork_in_child() -> None:
    while _installed:
        _remove_latest()
    _after_fork()


# Windows does not fork.
if hasattr(os, 'register_at_fork'):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
