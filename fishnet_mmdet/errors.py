"""The errors that end a command in one line: whatever the user can fix."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Something that the user can fix; the message names the thing, its value and the fix."""


class ConfigError(UserError, ValueError):
    """A setting that cannot be used: an argument of a module, a hook or a metric, or a key of a config."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Within it, a `UserError` ends the process with one line on stderr and status 1; every command runs in it.

    Raises:
        SystemExit: In place of a `UserError`.
    """
    try:
        yield
    except UserError as error:
        sys.exit(f'error: {error}')
