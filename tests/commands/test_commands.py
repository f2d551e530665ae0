"""The command line itself: the list of commands, wrong commands, configs by name."""

import os
import re
import shutil
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from conftest import CONFIGS, REPO
from mmengine.config import Config

from fishnet_mmdet.base.config_files import config_folder, config_names, copy_config, find_config
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.commands import COMMANDS, main, run_command
from fishnet_mmdet.lab.compare.experiment import read_experiment


@pytest.fixture
def call(monkeypatch, capsys):
    """Calls `fishnet-mmdet ...`; returns the status, or the line that ended it, and what it printed."""

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['fishnet-mmdet', *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, capsys.readouterr().out

    return run


class TestMain:
    def test_help_lists_every_command(self, call):
        status, out = call('--help')
        assert status == 0
        assert all(f'\n  {name} ' in out and what in out for name, what in COMMANDS.items())

    def test_without_a_command_the_list_is_shown_and_the_status_is_2(self, call):
        status, out = call()
        assert status == 2 and 'usage: fishnet-mmdet COMMAND' in out

    def test_version(self, call):
        import fishnet_mmdet

        assert call('--version') == (0, f'{fishnet_mmdet.__version__}\n')

    def test_a_wrong_command_is_corrected(self, call):
        status, _ = call('trian')
        assert status == "error: 'trian' is not a command. Did you mean 'train'? `fishnet-mmdet --help` lists all"

    @pytest.mark.parametrize('arguments, status', [(['--help'], 0), ([], 2), (['trian'], 1)])
    def test_the_console_script_answers_without_torch(self, arguments, status):
        """In a fresh process. What it must not wait for is the import of torch, which takes seconds."""
        code = (
            "import atexit, sys; atexit.register(lambda: print([m for m in ('torch', 'mmengine') if m in sys.modules]))"
            f'\nsys.argv[1:] = {arguments}\nfrom fishnet_mmdet_console import main; main()'
        )
        done = subprocess.run([sys.executable, '-c', code], cwd=REPO, capture_output=True, text=True, timeout=60)
        assert done.returncode == status
        assert done.stdout.endswith('[]\n')
        assert "Did you mean 'train'?" in done.stderr if status == 1 else 'usage: fishnet-mmdet COMMAND' in done.stdout

    @pytest.mark.skipif(not shutil.which('bash'), reason='no bash')
    def test_completion_as_in_the_docs(self):
        """The words that bash offers after `fishnet-mmdet p`."""
        (line,) = re.findall(r'^complete .*$', (REPO / 'docs/tools.md').read_text(), re.MULTILINE)
        function = f'fishnet-mmdet() {{ {sys.executable} -m fishnet_mmdet_console "$@"; }}'
        offer = 'words=$(complete -p fishnet-mmdet | sed "s/.*-W \'//; s/\'.*//"); compgen -W "$words" p'
        script = f'{function}\n{line}\n{offer}'
        done = subprocess.run(['bash', '-c', script], cwd=REPO, capture_output=True, text=True, timeout=60)
        assert done.stdout.split() == ['plot', 'port', 'plain-checkpoint', 'paper-tables'], done.stderr

    def test_the_console_script_runs_commands(self):
        command = [sys.executable, '-m', 'fishnet_mmdet_console', 'configs']
        done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0 and 'mask_rcnn_fishnet150_fpn ' in done.stdout

    def test_a_broken_installation_is_one_line(self, tmp_path):
        (tmp_path / 'mmengine').mkdir()
        (tmp_path / 'mmengine/__init__.py').write_text('raise ImportError("undefined symbol")')
        environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path), str(REPO)])}
        command = [sys.executable, '-m', 'fishnet_mmdet_console', 'train', 'x.py']
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 1 and 'Traceback' not in done.stderr
        assert done.stderr.startswith('error: fishnet_mmdet cannot be imported') and '/doctor' in done.stderr

    def test_wrong_flags_end_with_status_2(self, capsys):
        with pytest.raises(SystemExit) as end:
            run_command('configs', ['--cpoy', 'x'])
        assert end.value.code == 2 and 'usage: fishnet-mmdet configs' in capsys.readouterr().err

    def test_every_module_is_a_command(self):
        modules = {path.stem for path in (REPO / 'fishnet_mmdet' / 'commands').glob('*.py')} - {'__init__'}
        assert modules == {name.replace('-', '_') for name in COMMANDS}


class TestConfigs:
    def test_each_is_listed_with_one_line(self, call):
        _, out = call('configs')
        lines = dict(line.split(maxsplit=1) for line in out.splitlines())
        assert set(lines) == set(config_names()) == {path.stem for path in CONFIGS.glob('*.py')}
        assert lines['faster_rcnn_fishnet99_fpn'] == "Faster R-CNN on FishNet-99 + FPN, the paper's recipe."

    def test_a_copy_equals_the_original(self, call, tmp_path):
        status, out = call('configs', '--copy', 'mask_rcnn_fishnet99_fpn', '--out', str(tmp_path / 'mine'))
        files = [Path(line) for line in out.splitlines()]
        assert status == 0 and files[0] == tmp_path / 'mine' / 'mask_rcnn_fishnet99_fpn.py'
        copy = Config.fromfile(files[0])
        assert copy.to_dict() == Config.fromfile(CONFIGS / 'mask_rcnn_fishnet99_fpn.py').to_dict()

    def test_every_config_can_be_copied(self, tmp_path):
        for name in config_names():
            assert all(path.is_file() for path in copy_config(name, tmp_path))

    @pytest.mark.parametrize('name', [path.stem for path in (CONFIGS / 'experiments').glob('*.py')])
    def test_an_experiment_is_copied_with_what_it_trains(self, name, tmp_path):
        copy, *others = copy_config(f'experiments/{name}', tmp_path)
        trained = [
            file
            for track in read_experiment(copy).tracks.values()
            for file in (track.config, track.pretrain)
            if file is not None
        ]
        assert set(trained) <= set(others)
        for file in trained:
            assert Config.fromfile(file).to_dict() == Config.fromfile(CONFIGS / file.name).to_dict()

    def test_a_changed_copy_is_kept(self, call, tmp_path):
        copy, *_ = copy_config('mask_rcnn_r50_fpn', tmp_path)
        copy.write_text('mine = 1\n')
        status, _ = call('configs', '--copy', 'mask_rcnn_r50_fpn', '--out', str(tmp_path))
        assert f'{copy} exists and is another file' in status
        assert copy.read_text() == 'mine = 1\n'


@pytest.mark.parametrize('command', ['test', 'check'])
def test_ctrl_c_ends_a_command_without_a_traceback(command, plain_signals, monkeypatch, capsys):
    module = import_module(f'fishnet_mmdet.commands.{command}')
    monkeypatch.setattr(module, 'run', lambda args: signal.raise_signal(signal.SIGINT))
    checkpoint = ['any.pth'] * (command == 'test')
    assert run_command(command, ['mask_rcnn_fishnet_demo', *checkpoint]) == 130
    assert capsys.readouterr().err == f'{command}: stopped by Ctrl-C\n'


@pytest.mark.parametrize(
    'command',
    [
        'configs --copy mask_rcnn_r50_fpn --out file/x',
        'new --data . --from-scratch -o file/x.py',
        'new --data . --from-scratch -o folder.py --overwrite',
        'port mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py -o file/x.py',
        'check mask_rcnn_r50_fpn --json file/x.json',
    ],
)
def test_a_file_that_cannot_be_written_is_named_before_any_work(command, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('file').touch()
    Path('folder.py').mkdir()
    status, _ = call(*command.split())
    assert str(status).startswith('error: ') and ('file' in status or 'folder.py' in status)
    assert 'cannot be written' in status or 'is a folder' in status
    assert sorted(path.name for path in tmp_path.iterdir()) == ['file', 'folder.py']


class TestFindConfig:
    @pytest.mark.parametrize('name', ['mask_rcnn_r50_fpn', 'mask_rcnn_r50_fpn.py', 'experiments/nuclei'])
    def test_by_name_from_any_folder(self, name, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert find_config(name) == config_folder() / Path(name).with_suffix('.py')

    def test_a_file_of_the_user_goes_first(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path('mask_rcnn_r50_fpn.py').write_text('')
        assert find_config('mask_rcnn_r50_fpn.py') == Path('mask_rcnn_r50_fpn.py')

    def test_a_name_close_to_another_is_corrected(self):
        with pytest.raises(ConfigError, match="config file not found: .*; a config that ships is 'mask_rcnn_r50_fpn'"):
            find_config('mask_rcnn_r5_fpn')
