"""What the command line answers at once: the list of commands, and a wrong command.

The console script runs this file without the package around it (`fishnet_mmdet_console.py`): importing the package
loads torch. So it needs only Python's standard library.
"""

import difflib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

PROGRAM = 'fishnet-mmdet'

COMMANDS = {
    'train': 'train a detector, classifier or segmentor',
    'test': 'test a checkpoint: AP, accuracy, IoU or PQ',
    'plot': 'show runs as a page: which is better, curves, settings',
    'new': 'write a config for your own data',
    'get-coco': 'download COCO 2017, checked and unpacked',
    'infer': 'find objects on pictures, folders, videos or a camera',
    'eval': 'evaluate a COCO results file without a model',
    'check': 'check data, weights and settings of a config',
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
    'nuclei-data': 'convert the nuclei of the 2018 Data Science Bowl to COCO format',
}
"""Every command, with what it does."""


def respond(arguments: Sequence[str]) -> None:
    """Prints the list of commands, or what is wrong with a command, and ends the process; returns if there is one.

    Args:
        arguments: What follows the program on the command line.

    Raises:
        SystemExit: No command is named: with status 0 for --help, 2 without arguments, 1 for a wrong command.
    """
    if not arguments or arguments[0] in ('-h', '--help'):
        with reader_may_leave():
            print(overview(), flush=True)
        sys.exit(0 if arguments else 2)
    name = arguments[0]
    if name not in COMMANDS and name != '--version':
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f'Did you mean {close[0]!r}? ' if close else ''
        sys.exit(f'error: {name!r} is not a command. {hint}`{PROGRAM} --help` lists all')


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Context in which a reader of the output, such as `head`, may have seen enough; then the process ends."""
    try:
        yield
    except BrokenPipeError:
        # Python would report the pipe again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def overview() -> str:
    """Every command with one line, for `fishnet-mmdet --help`."""
    width = max(map(len, COMMANDS))
    lines = [f'  {name:<{width}}  {what}' for name, what in COMMANDS.items()]
    return '\n'.join(
        [f'usage: {PROGRAM} COMMAND ...', '', *lines, '', f'`{PROGRAM} COMMAND --help` lists the flags of a command.']
    )
