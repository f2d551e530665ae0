"""The set-up: what it refuses before it changes anything, and an environment that is up to date."""

import json
import runpy
import subprocess
import sys

from conftest import REPO

TOOL = 'tools/setup_env.py'


def test_a_machine_without_a_compiler_is_refused_first(tmp_path, monkeypatch, call_tool):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    done = call_tool(TOOL, tmp_path / 'venv', '--torch', 'torch==2.11.0', '--wheels', tmp_path / 'wheels')
    assert done.returncode == 1 and 'set-up failed: no C++ compiler found' in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_old_python_is_refused(tmp_path, monkeypatch, call_tool):
    monkeypatch.setattr(sys, 'version_info', (3, 9, 0))
    done = call_tool(TOOL, tmp_path / 'venv', '--torch', 'torch==2.11.0')
    assert done.returncode == 1 and 'is too old; use a newer one: make PYTHON=python3.11' in done.stderr


def test_an_environment_that_is_up_to_date_is_kept(tmp_path, monkeypatch, call_tool):
    tool = runpy.run_path(str(REPO / TOOL))
    recipe = {'torch': ['torch==2.11.0'], 'python': sys.version, 'inputs': tool['_fingerprint']()}
    (tmp_path / 'fishnet_setup.json').write_text(json.dumps(recipe))
    commands = []

    def run(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, 'run', run)
    done = call_tool(TOOL, tmp_path, '--torch', 'torch==2.11.0')
    assert done.returncode == 0 and 'up to date' in done.stdout
    # Only the test that the packages can be imported.
    ((python, flag, code),) = commands
    assert python == tmp_path / 'bin' / 'python' and flag == '-c' and 'import torch' in code
