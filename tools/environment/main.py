"""The command line of the set-up."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from environment.commands import SetupError
from environment.create import set_up
from environment.families import FAMILIES, choose
from environment.wheels import default_wheels


def main() -> None:
    """Parses the arguments and sets up the environment; a failure ends in one line and status 1."""
    parser = argparse.ArgumentParser(
        description='Creates the environment of `make demo` and `make test`: pinned versions in a virtual environment, '
        'mmcv from source. Needs Python and a C++ compiler, and no installed packages. Does nothing if the environment '
        'is up to date.'
    )
    parser.add_argument('venv', type=Path, help='folder of the virtual environment')
    parser.add_argument('--torch', required=True, help='pip requirements for torch and torchvision, and pip flags')
    parser.add_argument(
        '--stack',
        default='auto',
        help=f'family of packages: {" or ".join(FAMILIES)} (default: the first that runs on this Python)',
    )
    parser.add_argument('--any-python', action='store_true', help='try a Python that the packages do not support')
    parser.add_argument(
        '--locked', action='store_true', help='install only files whose hash is in constraints/NAME.lock'
    )
    parser.add_argument(
        '--wheels',
        type=Path,
        default=default_wheels(),
        help='folder that keeps built wheels of mmcv (default: %(default)s)',
    )
    args = parser.parse_args()
    try:
        family, note = choose(args.stack, sys.version_info[:2], args.any_python)
        set_up(args.venv, family, args.torch.split(), args.wheels, note, args.locked)
    except SetupError as error:
        sys.exit(f'set-up failed: {error}')
    except KeyboardInterrupt:
        sys.exit('set-up interrupted; run it again to go on')
