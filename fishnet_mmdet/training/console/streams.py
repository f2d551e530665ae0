"""Standard output and error of a run, while rows, lines or a bar are shown."""

import io
import os
from collections.abc import Callable
from typing import TextIO

from fishnet_mmdet.training.console.origin import calling_module, is_part_of

CLEAR_LINE = '\r\x1b[2K'
UNSEEN = ('pycocotools',)
"""Packages that print where they are; MMDetection has no switch for it."""

LOADS = 'Loads checkpoint by '
"""How a line of MMEngine begins that it prints for each file of weights."""


class RunStream(io.TextIOBase):
    """A stream that keeps a bar at the bottom, and leaves lines of no interest to the log file.

    While there is a bar, text is shown once its line is complete, or when the stream is flushed. A forked process,
    such as a loader worker, writes directly.

    Args:
        stream: The real stream.
        has_bar: Returns whether a bar is shown; otherwise, text goes to `stream` as it is.
        show: Called with text that comes above the bar.
        leave: Called with lines that are not shown.
    """

    def __init__(
        self,
        stream: TextIO,
        has_bar: Callable[[], bool],
        show: Callable[[str], None],
        leave: Callable[[str], None],
    ) -> None:
        self._stream, self._has_bar, self._show, self._leave = stream, has_bar, show, leave
        self._pid = os.getpid()
        self._pending = ''
        self._unseen = ''
        self._at_start = True

    def write(self, text: str) -> int:
        """Writes text, or leaves it to the log file."""
        if os.getpid() != self._pid:
            self._write_in_child(text)
        elif self._is_unseen(text):
            self._unseen += text
            *lines, self._unseen = self._unseen.split('\n')
            for line in filter(None, lines):
                self._leave(line)
        elif self._has_bar():
            *lines, self._pending = (self._pending + text).split('\n')
            if lines:
                self._show('\n'.join(line.rpartition('\r')[2] for line in lines) + '\n')
        else:
            self._stream.write(self._pending + text)
            self._pending = ''
        return len(text)

    def flush(self) -> None:
        """Shows an incomplete line too: it may be a question."""
        if self._pending and os.getpid() == self._pid:
            pending, self._pending = self._pending, ''
            self._show(pending)
        self._stream.flush()

    def _is_unseen(self, text: str) -> bool:
        if self._unseen:
            return True
        module = calling_module()
        return is_part_of(module, UNSEEN) or (is_part_of(module, ('mmengine',)) and text.startswith(LOADS))

    def _write_in_child(self, text: str) -> None:
        """Clears what there may be of a bar before each line. There is no lock that a fork could leave held."""
        if self._has_bar() and self._at_start:
            text = CLEAR_LINE + text
        self._at_start = text.endswith('\n')
        self._stream.write(text)
        self._stream.flush()

    def isatty(self) -> bool:
        """Whether the real stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Number of the real stream's file."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """Returns True."""
        return True

    @property
    def encoding(self) -> str:
        """Encoding of the real stream."""
        return self._stream.encoding

    @property
    def errors(self) -> str | None:
        """How the real stream handles characters that it cannot encode."""
        return self._stream.errors

    @property
    def buffer(self) -> io.BufferedIOBase:
        """The real stream's bytes."""
        return self._stream.buffer
