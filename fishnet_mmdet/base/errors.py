"""The errors that end a command in one line: problems that the user can fix."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from fishnet_mmdet.base.text import printable


class UserError(Exception):
    """A problem that the user can fix; the message names the thing, its value and the fix."""


class ConfigError(UserError, ValueError):
    """An invalid setting: an argument of a module, a hook or a metric, or a key of a config."""


class UsageError(UserError):
    """Arguments of a command that do not go together."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Context in which every command runs: a `UserError` ends the process with one line on stderr and status 1.

    Characters that are not printable, such as the control codes of a terminal in the name of a file, are escaped.

    Raises:
        SystemExit: Instead of a `UserError`.
    """
    try:
        yield
    except UserError as error:
        sys.exit(f'error: {printable(str(error))}')
