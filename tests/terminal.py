"""Runs a tool of the repository in a terminal of a given size, and reads what it writes there."""

import contextlib
import fcntl
import os
import re
import struct
import termios
import threading
import time

CODES = re.compile(r'\x1b\[[0-9;?]*[A-Za-z]')
FRAME = re.compile(r'\r|\n|\x1b\[2K|\x1b\[1A')
"""What begins a line, or the same line again."""


class Terminal:
    """A terminal of some columns. `path` can be given to a process as its output; `text` is what was written so far."""

    def __init__(self, columns, rows=40):
        self.master, self.slave = os.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
        self.path = os.ttyname(self.slave)
        self.columns, self.received = columns, bytearray()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        with contextlib.suppress(OSError):
            while block := os.read(self.master, 65536):
                self.received += block

    @property
    def text(self):
        return self.received.decode(errors='replace')

    def lines(self):
        """Every line that was ever shown, and each state of the last one, without codes."""
        return [line for line in (CODES.sub('', frame) for frame in FRAME.split(self.text)) if line.strip()]

    def wait_for(self, pattern, seconds=120):
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            assert time.monotonic() < deadline, self.text[-3000:]
            time.sleep(0.02)

    def close(self):
        # The process has ended: what it wrote is in the terminal, which the reader empties.
        deadline = time.monotonic() + 2
        size = -1
        while size != len(self.received) and time.monotonic() < deadline:
            size = len(self.received)
            time.sleep(0.1)
        os.close(self.slave)
        self.reader.join(2)
        os.close(self.master)
