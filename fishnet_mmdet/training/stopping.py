"""Stopping on a signal: all processes of a job at the same iteration."""

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
from mmengine.dist import all_reduce, get_world_size

STOPPED = 75
"""Exit status of a run that was asked to stop, saved, and can go on: `EX_TEMPFAIL` of sysexits.h, "try again"."""

ECHO_SECONDS = 3.0
"""Signals so shortly after the first are the same request: a terminal and the launcher both pass on one Ctrl-C."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Remembers that somebody asked this process to stop: Slurm, a launcher, or Ctrl-C.

    The first signal is only noted; a second one, after `ECHO_SECONDS`, ends the process at once, as it would have
    without us.
    """

    def __init__(self) -> None:
        self._first: float | None = None
        self._former: dict[int, object] = {}

    def listen(self) -> None:
        """Takes the signals over; from a thread other than the main one it cannot, and does nothing."""
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.signal(number, self._note) for number in SIGNALS}

    def hang_up(self) -> None:
        """Gives the signals back."""
        while self._former:
            signal.signal(*self._former.popitem())

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
        elif now - self._first > ECHO_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def agreed(self) -> bool:
        """Whether any rank was asked. All ranks call it, and all get the same answer."""
        return any_rank(self._first is not None)


@contextmanager
def nothing_to_save_yet() -> Iterator[None]:
    """Within it SIGTERM ends the process with `STOPPED`, until a `StopRequest` listens in its place.

    Raises:
        SystemExit: On SIGTERM.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    print(f'Asked to stop while nothing was being trained; exit status {STOPPED}', file=sys.stderr, flush=True)
    raise SystemExit(STOPPED)


def any_rank(flag: bool) -> bool:
    """Whether a flag is set on any rank; all ranks call it, and none goes on before all have."""
    if get_world_size() == 1:
        return flag
    told = torch.tensor([int(flag)])
    all_reduce(told, 'max')
    return bool(told)
