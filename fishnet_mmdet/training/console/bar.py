"""A bar in the last line of a terminal, with what matters beside it."""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from fishnet_mmdet.training.console.fields import GAP, Field, fit

REFRESH_SECONDS = 0.1
NARROWEST, WIDEST = 8, 40


class TerminalConsole(Console):
    """A console of a run: it never hides the cursor, which a kill would leave hidden, and ends no process."""

    def show_cursor(self, show: bool = True) -> bool:
        """Does nothing."""
        return False

    def on_broken_pipe(self) -> None:
        """Shows nothing from here on. Rich would end the process: a run goes on without its reader."""
        self.quiet = True
        # What others print must not fail either, nor Python when it flushes at the end.
        with suppress(OSError, ValueError), Path(os.devnull).open('w') as nothing:
            os.dup2(nothing.fileno(), self.file.fileno())


@dataclass(frozen=True)
class BarLine:
    """One line: a title, a bar, and fields. In a narrow terminal, fields are left out, and the bar gets shorter.

    Attributes:
        title: What is going on.
        done: Steps that are done.
        count: All steps; None where nobody knows.
        fields: What stands behind the bar.
    """

    title: str
    done: int
    count: int | None
    fields: Sequence[Field]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yields the parts of the line, behind which there is room for what a terminal writes for Ctrl-C."""
        width = options.max_width - len('^C') - 1
        place = f'{self.done}/{self.count}' if self.count else f'{self.done}'
        fields = [Field(self.title), Field(place), *self.fields]
        title, *texts = fit(fields, width - NARROWEST - len(GAP))
        used = len(GAP.join([title, *texts]))
        bar_width = min(WIDEST, width - used - len(GAP))
        yield Text(title + GAP, end='', style='bold', no_wrap=True)
        if bar_width >= NARROWEST:
            bar = ProgressBar(total=self.count, completed=self.done, width=bar_width)
            # Without colours, rich leaves out the part that is not done: the lines are padded.
            yield from console.render_lines(bar, options.update_width(bar_width))[0]
            yield Text(GAP, end='')
        yield Text(GAP.join(texts), end='', no_wrap=True, overflow='crop')


class Bar:
    """Shows a `BarLine` and draws it again, ten times a second at most, when a new one is set.

    No thread draws it: a process that is forked meanwhile would inherit the locks of the thread. So the bar stands
    still during an iteration.

    Args:
        console: Where it is shown. What is printed there comes above the bar.
    """

    def __init__(self, console: Console) -> None:
        self._live = Live(
            '', console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._drawn_at = -REFRESH_SECONDS

    @property
    def is_shown(self) -> bool:
        """Whether the bar stands in the last line."""
        return self._live.is_started

    def is_due(self) -> bool:
        """Whether a new line would be drawn."""
        return time.monotonic() - self._drawn_at >= REFRESH_SECONDS

    def set(self, line: BarLine | Text) -> None:
        """Draws a line, or a text of one line in its place."""
        self._live.start()
        self._live.update(line, refresh=True)
        self._drawn_at = time.monotonic()

    def hide(self) -> None:
        """Removes the bar until the next line is set."""
        self._live.stop()
