"""The screen of a run: standard output and error, and what the logger shows there."""

import logging
import sys
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from types import TracebackType

from mmengine.logging import MMLogger
from mmengine.runner import Runner
from rich.text import Text

from fishnet_mmdet.training.console.bar import Bar, BarLine, TerminalConsole
from fishnet_mmdet.training.console.handler import FILE_ONLY, ScreenHandler
from fishnet_mmdet.training.console.modes import resolve
from fishnet_mmdet.training.console.rows import WIDTH, row_lines, wrapped
from fishnet_mmdet.training.console.streams import RunStream
from fishnet_mmdet.training.distributed import is_rank_zero


class Screen:
    """What a run shows. Used as a context, inside of which it stands before standard output and error.

    Of several processes, only that of rank 0 has rows, lines and a bar.

    Args:
        mode: A key of `fishnet_mmdet.training.console.MODES`.

    Attributes:
        mode: The mode that standard output can show.
        began: Whether the first epoch, validation or test has begun.
        epochs: Number of epochs of the training; None before it is known, and where iterations are counted.
    """

    def __init__(self, mode: str = 'auto') -> None:
        self.mode = resolve(mode, sys.stdout)
        self.began = False
        self.epochs: int | None = None
        self._is_main = is_rank_zero()
        has_bar = self.mode == 'bar' and self._is_main
        self._console = TerminalConsole(
            file=sys.stdout,
            force_terminal=True if has_bar else None,
            force_jupyter=False,
            markup=False,
            highlight=False,
        )
        self._bar = Bar(self._console) if has_bar else None
        self._logger: MMLogger | None = None
        self._left: list[str] = []
        self._context = ExitStack()

    @property
    def is_own(self) -> bool:
        """Whether the run shows anything but MMEngine's own lines."""
        return self.mode != 'mmengine'

    @property
    def width(self) -> int | None:
        """Columns of the terminal; None where standard output is not one."""
        return self._console.width if self._console.is_terminal else None

    def __enter__(self) -> 'Screen':
        """Takes over standard output and, where there is a bar on the same terminal, standard error."""
        if self.is_own:
            ways = (self._has_bar, self._show_as_it_is, self._leave)
            self._context.enter_context(redirect_stdout(RunStream(sys.stdout, *ways)))
            if sys.stderr.isatty():
                self._context.enter_context(redirect_stderr(RunStream(sys.stderr, *ways)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Removes the bar, and gives standard output and error back."""
        self.hide_bar()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self._context.close()

    def row(self, name: str, text: str) -> None:
        """Shows a row of the first screen; in the modes 'mmengine' and 'quiet', and on other ranks, nothing."""
        if self.mode not in ('mmengine', 'quiet') and self._is_main:
            for left, right in row_lines(name, text, min(self.width or WIDTH, WIDTH)):
                self._print(Text.assemble((left, 'cyan'), ' ', right))

    def show(self, text: str, style: str = '') -> None:
        """Shows text, above the bar if there is one.

        Args:
            text: The text, without the end of its last line. It may hold the codes of colours.
            style: A style of rich.
        """
        if self.width and not {'\n', '\x1b'} & set(text):
            text = '\n'.join(wrapped(text, self.width))
        shown = Text.from_ansi(text)
        shown.style = style
        self._print(shown)

    def _print(self, text: Text, end: str = '\n') -> None:
        encoding = getattr(self._console.file, 'encoding', None) or 'utf-8'
        if text.plain != (safe := text.plain.encode(encoding, 'backslashreplace').decode(encoding)):
            text = Text(safe, style=text.style)
        self._console.print(text, end=end, soft_wrap=True)

    def _show_as_it_is(self, text: str) -> None:
        """Shows what was printed; an incomplete line stays in the last line, and the bar gives way."""
        if text.endswith('\n'):
            self._print(Text.from_ansi(text[:-1]))
        else:
            self.hide_bar()
            self._print(Text.from_ansi(text), end='')

    def _leave(self, line: str) -> None:
        """Writes a line to the log file only, as soon as there is one."""
        if self._logger is None:
            self._left.append(line)
        else:
            self._logger.info(line, extra={FILE_ONLY: True})

    def _has_bar(self) -> bool:
        return self._bar is not None and self._bar.is_shown

    def bar_is_due(self) -> bool:
        """Whether there is a bar, which was last drawn a while ago."""
        return self._bar is not None and self._bar.is_due()

    def set_bar(self, line: BarLine) -> None:
        """Draws the bar, if there is one."""
        if self._bar:
            self._bar.set(line)

    def set_status(self, text: str) -> None:
        """Says in the place of the bar what takes time."""
        if self._bar:
            self._bar.set(Text(f'{text} ...', style='dim', no_wrap=True, overflow='ellipsis'))

    def hide_bar(self) -> None:
        """Removes the bar until it is drawn again."""
        if self._bar:
            self._bar.hide()

    def give_up_bar(self) -> None:
        """Removes the bar for good; lines take its place."""
        self.hide_bar()
        if self.mode == 'bar':
            self.mode, self._bar = 'lines', None

    def attach(self, logger: MMLogger) -> None:
        """Replaces the handler of a logger that writes to standard output; its files stay as they are."""
        if not self.is_own or self._logger is logger:
            return
        for index, handler in enumerate(logger.handlers):
            is_screen = isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)
            if is_screen and self._is_main:
                logger.handlers[index] = ScreenHandler(self, handler)
        self._logger = logger
        left, self._left = self._left, []
        for line in left:
            self._leave(line)

    def runner_class(self, base: type[Runner]) -> type[Runner]:
        """Returns a runner whose logger is attached before it logs its first line."""

        def build_logger(runner: Runner, *args: object, **kwargs: object) -> MMLogger:
            logger = super(own, runner).build_logger(*args, **kwargs)
            self.attach(logger)
            return logger

        own = type(base.__name__, (base,), dict(build_logger=build_logger, __doc__=base.__doc__))
        return own
