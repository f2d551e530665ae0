"""The command line: `fishnet-mmdet COMMAND ...`, one module for each command.

A module describes its command in its docstring, adds its flags in `add_arguments(parser)`, and does its work in
`run(args)`, which returns the exit status or None. It is imported only when its command is called.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from fishnet_mmdet.base.errors import UsageError, one_line_errors
from fishnet_mmdet.base.startup import keep_imports
from fishnet_mmdet.overview import COMMANDS, PROGRAM, reader_may_leave, respond

INTERRUPTED = 130
"""Exit status after Ctrl-C, as of a shell."""

__all__ = ['COMMANDS', 'PROGRAM', 'main', 'run_command', 'run_tool']


def main() -> NoReturn:
    """Runs the command that the command line names; ends the process with its status."""
    with one_line_errors(), reader_may_leave():
        sys.exit(_dispatch(sys.argv[1:]))


def run_tool(command: str) -> NoReturn:
    """Runs a command under the name of the script that was started; ends the process with its status."""
    sys.exit(run_command(command, sys.argv[1:], program=Path(sys.argv[0]).name))


def run_command(command: str, arguments: Sequence[str], program: str | None = None) -> int:
    """Parses the arguments of a command and runs it.

    Args:
        command: A key of `COMMANDS`.
        arguments: What follows the command on the command line.
        program: Name for the usage line. Default: `fishnet-mmdet COMMAND`.

    Returns:
        The exit status; after Ctrl-C 130, if the command does not stop in a way of its own.

    Raises:
        SystemExit: With status 2 and the usage for wrong arguments, with one line and status 1 for a `UserError`.
    """
    # MMEngine imports it for each config; nobody who runs a command can change that.
    warnings.filterwarnings('ignore', message='pkg_resources is deprecated')
    module = import_module(f'{__name__}.{command.replace("-", "_")}')
    keep_imports()
    parser = argparse.ArgumentParser(
        prog=program or f'{PROGRAM} {command}',
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    args = parser.parse_args(arguments)
    with one_line_errors():
        try:
            return module.run(args) or 0
        except UsageError as error:
            parser.error(str(error))
        except KeyboardInterrupt:
            print(f'{command}: stopped by Ctrl-C', file=sys.stderr)
            return INTERRUPTED


def _dispatch(arguments: Sequence[str]) -> int:
    respond(arguments)
    if arguments[0] == '--version':
        import fishnet_mmdet

        print(fishnet_mmdet.__version__)
        return 0
    return run_command(arguments[0], arguments[1:])
