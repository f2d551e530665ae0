"""The console script `fishnet-mmdet`.

It lies outside of the package: importing any module of `fishnet_mmdet` registers the network, which loads torch and
takes seconds. `fishnet-mmdet --help` and a wrong command do not wait for that.
"""

import os
import runpy
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn


def main() -> NoReturn:
    """Answers at once what needs no torch, and runs commands; ends the process with their status."""
    _without_package('overview.py')['respond'](sys.argv[1:])
    _commands().main()


def run_tool(command: str) -> NoReturn:
    """Runs a command for a script of `tools/`, under the name of the script; ends the process with its status."""
    _commands().run_tool(command)


def _without_package(path: str) -> dict[str, Any]:
    """What a file of the package defines."""
    package = Path(find_spec('fishnet_mmdet').origin).parent
    return runpy.run_path(str(package / path))


def _commands() -> ModuleType:
    """The commands, once the environment is as torch should find it."""
    _without_package('base/startup.py')['begin'](os.environ)
    try:
        return import_module('fishnet_mmdet.commands')
    except ImportError as error:
        if error.name != 'fishnet_mmdet':
            raise
        # The message names the command that shows what is broken.
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
