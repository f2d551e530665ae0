"""Runs a tool of the repo in the process of the tests, which saves the seconds that its imports take."""

import contextlib
import io
import os
import runpy
import sys
from types import SimpleNamespace
from unittest.mock import patch

from conftest import REPO


def run_here(tool, *arguments, cwd=REPO):
    """Returns status and output, as `run_tool` does; an exception that the tool does not handle is raised."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    before = os.getcwd()
    os.chdir(cwd)
    try:
        with (
            patch.object(sys, 'argv', [str(tool), *map(str, arguments)]),
            patch.object(sys, 'path', [str((REPO / tool).parent), *sys.path]),  # as Python does for a script
            patch.dict(os.environ),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            runpy.run_path(str(REPO / tool), run_name='__main__')
    except SystemExit as error:
        if isinstance(error.code, str):
            err.write(f'{error.code}\n')
        status = 1 if isinstance(error.code, str) else error.code or 0
    finally:
        os.chdir(before)
    return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=err.getvalue())
