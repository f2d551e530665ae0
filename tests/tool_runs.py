"""Runs tools of the repository in processes that have imported torch and mmdet already.

These imports take longer than most of the runs. A server imports them once and forks a process for every run.
"""

import multiprocessing
import os
import random
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent

IMPORTED = [
    'torch', 'torchvision', 'matplotlib.pyplot', 'mmengine.runner', 'mmdet.apis', 'mmdet.datasets', 'mmdet.engine',
    'mmdet.evaluation', 'mmdet.models', 'mmdet.visualization',
]  # fmt: skip
"""What the server imports; not the package itself, so that every run registers what it needs."""

READ_AT_START = ('PYTHON', 'OMP_')
"""Beginnings of the names of environment variables that only count when a process starts."""


def run_tool(tool, *arguments, cwd=None, env=None, timeout=300):
    """Runs a tool to its end; takes and returns what `subprocess.run` does.

    Args:
        tool: Path of the tool in the repository.
        arguments: Its arguments.
        cwd: Folder to run in, by default the repository.
        env: Environment variables, beside those of this process. One that only counts when a process starts gives the
            tool a process that nothing was imported into.
        timeout: Seconds.
    """
    command = [str(REPO / tool), *map(str, arguments)]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', **(env or {})}
    cwd = str(cwd or REPO)
    if any(name.startswith(READ_AT_START) for name in env or {}):
        command = [sys.executable, *command]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout)
    with tempfile.TemporaryDirectory() as folder:
        streams = [f'{folder}/stdout', f'{folder}/stderr']
        server = multiprocessing.get_context('forkserver')
        server.set_forkserver_preload(IMPORTED)
        process = server.Process(target=_run, args=(command, cwd, environment, streams))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(command, timeout, *(Path(s).read_text() for s in streams))
        return subprocess.CompletedProcess(command, process.exitcode, *(Path(s).read_text() for s in streams))


def _run(command, cwd, environment, streams):
    """The tool itself, in the process that the server forked."""
    import numpy as np
    import torch

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for number, path in enumerate([os.devnull, *streams]):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    # Runs that choose a seed choose different ones.
    random.seed()
    np.random.seed()
    torch.seed()
    sys.argv = command
    runpy.run_path(command[0], run_name='__main__')
