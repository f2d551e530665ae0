"""The command line: `fishnet-mmdet COMMAND ...`, one module for each command.

A module describes its command in its docstring, adds its flags in `add_arguments(parser)`, and does its work in
`run(args)`, which returns the exit status or None. It is imported only when its command is called.
"""

import argparse
import difflib
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from fishnet_mmdet.base.errors import UsageError, UserError, one_line_errors

PROGRAM = 'fishnet-mmdet'

COMMANDS = {
    'train': 'train a detector, classifier or segmentor',
    'test': 'test a checkpoint: AP, accuracy, IoU or PQ',
    'plot': 'show runs as a page: which is better, curves, settings',
    'new': 'write a config for your own data',
    'get-coco': 'download COCO 2017, checked and unpacked',
    'infer': 'find objects on pictures, folders, videos or a camera',
    'eval': 'evaluate a COCO results file without a model',
    'check': 'check the images and annotations of a config',
    'configs': 'list the configs that ship, or copy one',
    'port': 'put FishNet into any config with a ResNet',
    'convert': 'convert FishNet weights of any known key naming',
    'plain-checkpoint': 'make a checkpoint of stock MMEngine readable',
    'export': 'export backbone and neck to ONNX',
    'doctor': 'check whether this machine is ready to train',
    'benchmark': 'time FishNet and its peers',
    'compare': 'train one detector on several backbones',
    'stability': 'measure whether training from scratch diverges',
    'paper-tables': "print the paper's tables, with your own runs",
    'draw': 'draw an architecture as a fish',
    'gradients': "check the paper's claim about gradients",
    'demo-data': 'draw the demo data',
}
"""Every command, with what it does."""


def main() -> NoReturn:
    """Runs the command that the command line names; ends the process with its status."""
    with one_line_errors():
        try:
            sys.exit(_dispatch(sys.argv[1:]))
        except BrokenPipeError:
            # The reader, such as `head`, has seen enough. Python would report the pipe again when it closes stdout.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)


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
        The exit status.

    Raises:
        SystemExit: With status 2 and the usage for wrong arguments, with one line and status 1 for a `UserError`.
    """
    # MMEngine imports it for each config; nobody who runs a command can change that.
    warnings.filterwarnings('ignore', message='pkg_resources is deprecated')
    module = import_module(f'{__name__}.{command.replace("-", "_")}')
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


def overview() -> str:
    """Every command with one line, for `fishnet-mmdet --help`."""
    width = max(map(len, COMMANDS))
    lines = [f'  {name:<{width}}  {what}' for name, what in COMMANDS.items()]
    return '\n'.join(
        [f'usage: {PROGRAM} COMMAND ...', '', *lines, '', f'`{PROGRAM} COMMAND --help` lists the flags of a command.']
    )


def _dispatch(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ('-h', '--help'):
        print(overview())
        return 0 if arguments else 2
    if arguments[0] == '--version':
        import fishnet_mmdet

        print(fishnet_mmdet.__version__)
        return 0
    if arguments[0] not in COMMANDS:
        close = difflib.get_close_matches(arguments[0], COMMANDS, n=1)
        hint = f'Did you mean {close[0]!r}? ' if close else ''
        raise UserError(f'{arguments[0]!r} is not a command. {hint}`{PROGRAM} --help` lists all')
    return run_command(arguments[0], arguments[1:])
