"""The handler that stands in for MMEngine's on the terminal. The log file keeps its own."""

import logging
import time
from collections.abc import Callable
from typing import Protocol

from fishnet_mmdet.training.console.origin import FRAMEWORKS, calling_module, is_part_of
from fishnet_mmdet.training.console.short_lines import parse, short_line

LOGGER_HOOK = 'mmengine.hooks.logger_hook'
OWN = 'fishnet_mmdet'
RESULTS = ('fishnet_mmdet.evaluation',)
TOO_WIDE = 'The table needs {widest} columns; the work dir has it as .md and .json'
FILE_ONLY = 'file_only'
"""An attribute of records that only the log file gets."""

SAVES = 'Saving checkpoint at'
"""How MMEngine's line for each checkpoint begins."""

DEPRECATED = 'will be deprecated'
"""In warnings of frameworks about their own calls, which a user of them cannot change."""

SECONDS_BETWEEN = 10.0
"""Time between two lines of a validation or test."""


class Shown(Protocol):
    """What the handler knows of the screen."""

    mode: str
    began: bool
    epochs: int | None

    @property
    def width(self) -> int | None:
        """Columns of the terminal; None where there is none."""

    def show(self, text: str, style: str = '') -> None:
        """Shows text."""


class ScreenHandler(logging.Handler):
    """Shows the records of a run that a person needs, in short.

    - Warnings and errors are shown, with the time of day.
    - Lines of iterations are shown in short, or not at all where there is a bar.
    - Before the first epoch, what MMEngine, MMDetection, their sisters and this package inform of is not shown: the
      config, the environment, the hooks. What others inform of is shown at any time.
    - A table that is wider than the terminal is not shown; it is in the work dir too.

    Args:
        screen: The screen.
        former: The handler that it replaces, whose level and filters it takes over.
        clock: Returns the time of day as text.
    """

    def __init__(
        self,
        screen: Shown,
        former: logging.Handler,
        clock: Callable[[], str] = lambda: time.strftime('%H:%M:%S'),
    ) -> None:
        super().__init__(former.level)
        self.filters = list(former.filters)
        self._screen, self._clock = screen, clock
        self._next = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Shows a record, or does not."""
        try:
            self._emit(record)
        except Exception:
            self.handleError(record)

    def _emit(self, record: logging.LogRecord) -> None:
        message, module = record.getMessage(), calling_module()
        if record.levelno >= logging.WARNING:
            if DEPRECATED in message and is_part_of(module, FRAMEWORKS):
                return
            is_error = record.levelno >= logging.ERROR
            name, style = ('error', 'bold red') if is_error else ('warning', 'yellow')
            self._screen.show(f'{self._clock()}  {name}: {message}', style)
        elif not getattr(record, FILE_ONLY, False):
            self._inform(message, module)

    def _inform(self, message: str, module: str) -> None:
        if module == LOGGER_HOOK:
            self._iteration(message)
        elif is_part_of(module, RESULTS):
            self._result(message.strip('\n'))
        elif self._screen.mode != 'quiet' and (self._screen.began or not is_part_of(module, (*FRAMEWORKS, OWN))):
            if not message.startswith(SAVES):
                self._screen.show(message.strip('\n'))

    def _result(self, table: str) -> None:
        widest = max(len(line.rstrip()) for line in table.split('\n'))
        room = self._screen.width
        self._screen.show(table if room is None or widest <= room else TOO_WIDE.format(widest=widest))

    def _iteration(self, message: str) -> None:
        it = parse(message) if self._screen.mode == 'lines' else None
        # The lines of whole validations have figures; those are shown by ScreenHook.
        if it is None or (it.split != 'train' and 'eta' not in it.values):
            return
        if it.split != 'train':
            if time.monotonic() < self._next:
                return
            self._next = time.monotonic() + SECONDS_BETWEEN
        self._screen.show(short_line(it, self._clock(), self._screen.epochs))
