"""Flags of the tools that need no training to be tried."""

import json
import runpy
import sys

import pytest
from conftest import CONFIGS, REPO


def test_check_data_of_some_splits(make_case, run_tool):
    case = make_case()
    for image in case.images[:3]:
        case.path(image).unlink()
    config = case.root.parent / 'config.py'
    case.cfg.dump(config)
    done = run_tool('tools/check_data.py', config, '--splits', 'val')
    assert done.returncode == 0 and '[image-missing]' not in done.stdout, done.stderr
    done = run_tool('tools/check_data.py', config, '--splits', 'train', '--shown', 1)
    assert done.returncode == 1 and '[image-missing] train' in done.stdout
    assert str(case.path(case.images[0])) in done.stdout and str(case.path(case.images[1])) not in done.stdout


def test_gradient_paths_trains_and_plots(tmp_path, run_tool):
    out = tmp_path / 'norms.png'
    plan = ['--steps', 2, '--batch', 2, '--side', 64, '--lr', 0.01, '--seed', 1]
    done = run_tool('tools/gradient_paths.py', CONFIGS / 'mask_rcnn_fishnet_demo.py', '--plot', out, *plan)
    assert done.returncode == 0 and out.stat().st_size > 10_000, done.stderr
    done = run_tool('tools/gradient_paths.py', 'fishnet99', '--steps', 0)
    assert done.returncode == 1 and 'steps = 0' in done.stderr and 'Traceback' not in done.stderr


class TestSetup:
    """Without an installation: an environment that is up to date, and a machine without a compiler."""

    @pytest.fixture
    def tool(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv('CXX', 'no-such-compiler')
        functions = runpy.run_path(str(REPO / 'tools' / 'setup_env.py'))
        (tmp_path / 'venv' / 'bin').mkdir(parents=True)
        python = tmp_path / 'venv' / 'bin' / 'python'
        python.write_text('#!/bin/sh\nexit 0\n')
        python.chmod(0o755)
        recipe = dict(torch=['torch==1.0'], python=sys.version, inputs=functions['_fingerprint']())
        (tmp_path / 'venv' / 'fishnet_setup.json').write_text(json.dumps(recipe))

        def run(*flags):
            monkeypatch.setattr(sys, 'argv', ['setup_env.py', str(tmp_path / 'venv'), *map(str, flags)])
            functions['main']()
            return capsys.readouterr().out

        return run

    def test_another_torch_is_another_environment(self, tool, tmp_path):
        assert 'up to date' in tool('--torch', 'torch==1.0')
        with pytest.raises(SystemExit, match='set-up failed: no C.. compiler'):
            tool('--torch', 'torch==2.0', '--wheels', tmp_path / 'wheels')
