"""The console script `fishnet-mmdet`.

It lies outside of the package: importing any module of `fishnet_mmdet` registers the network, which loads torch and
takes seconds. `fishnet-mmdet --help` and a wrong command do not wait for that.
"""

import runpy
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn


def main() -> NoReturn:
    """Answers at once what needs no torch, and runs commands; ends the process with their status."""
    package = Path(find_spec('fishnet_mmdet').origin)
    runpy.run_path(str(package.with_name('overview.py')))['respond'](sys.argv[1:])
    try:
        commands = import_module('fishnet_mmdet.commands')
    except ImportError as error:
        if error.name != 'fishnet_mmdet':
            raise
        # The message names the command that shows what is broken.
        sys.exit(f'error: {error}')
    commands.main()


if __name__ == '__main__':
    main()
