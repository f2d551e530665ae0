"""Runs a tool of the repo in this process, which saves the seconds that a new process takes to import."""

import runpy
import sys

from conftest import REPO


def call_tool(tool, *arguments):
    """Runs `tools/NAME.py` as a command would; what a user did wrong raises SystemExit with the line for stderr."""
    argv = sys.argv
    sys.argv = [tool, *map(str, arguments)]
    try:
        runpy.run_path(str(REPO / tool), run_name='__main__')
    finally:
        sys.argv = argv
