"""Stopping on a signal: all processes of a job stop at the same iteration."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import torch
from mmengine.dist import all_reduce, get_rank, get_world_size

from fishnet_mmdet.training import own_handlers

STOPPED = 75
"""Exit status of a run that was asked to stop, saved, and can continue: `EX_TEMPFAIL` of sysexits.h, "try again"."""

ECHO_SECONDS = 3.0
"""Signals within this time of the first are the same request: a terminal and the launcher both pass on one Ctrl-C."""

NOTED = b'Stopping after this iteration, then saving.\nA second signal ends the run at once and saves nothing.\n'
"""What the first signal prints: an iteration may take long."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Notes that this process was asked to stop, by Slurm, a launcher or Ctrl-C.

    The first signal is noted, and rank 0 says so. A second one, after `ECHO_SECONDS`, has its default effect and ends
    the process at once. Processes that are forked meanwhile do not inherit the handlers.
    """

    def __init__(self) -> None:
        self._first: float | None = None

    def listen(self) -> None:
        """Installs the signal handlers. Only the main thread can; in any other thread it does nothing."""
        if threading.current_thread() is threading.main_thread():
            self.restore_handlers()
            for number in SIGNALS:
                own_handlers.install(number, self._note)

    def restore_handlers(self) -> None:
        """Installs the former signal handlers. Only the main thread can; in any other thread it does nothing."""
        if threading.current_thread() is threading.main_thread():
            own_handlers.uninstall(self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
            if get_rank() == 0:
                # Not print: the signal may have interrupted one. In a terminal, there may be a bar in the last line.
                os.write(2, (b'\n' if os.isatty(2) else b'') + NOTED)
        elif now - self._first > ECHO_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def on_any_rank(self) -> bool:
        """Returns whether any rank was asked to stop. All ranks call it, and all get the same answer."""
        return any_rank(self._first is not None)


@contextmanager
def nothing_to_save_yet() -> Iterator[None]:
    """Context in which SIGTERM ends the process with status `STOPPED`, until a `StopRequest` listens.

    Raises:
        SystemExit: On SIGTERM.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    own_handlers.install(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        own_handlers.uninstall(_leave)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    print(f'Asked to stop while nothing was being trained; exit status {STOPPED}', file=sys.stderr, flush=True)
    raise SystemExit(STOPPED)


def any_rank(flag: bool) -> bool:
    """Returns whether a flag is set on any rank. All ranks call it and wait for each other."""
    if get_world_size() == 1:
        return flag
    shared = torch.tensor([int(flag)])
    all_reduce(shared, 'max')
    return bool(shared)
