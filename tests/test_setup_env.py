"""The set-up: what it refuses before it changes anything, which family it takes, what it keeps, how failures end."""

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import REPO
from packaging.requirements import Requirement

TOOL = 'tools/setup_env.py'
TORCH = 'torch==2.11.0'
KEPT = {
    'openmmlab': 'cpython-311-torch-2.11.0+cu130-cuda13.0-cpu/mmcv-2.1.0-cp311-cp311-linux_x86_64.whl',
    'onedl': 'cpython-313-torch-2.11.0+cu130-cuda13.0-cpu/onedl_mmcv-2.3.6-cp313-cp313-linux_x86_64.whl',
}
"""Wheels where earlier set-ups have put them."""


@pytest.fixture(autouse=True)
def modules(monkeypatch):
    """The modules of the set-up can be imported."""
    monkeypatch.syspath_prepend(REPO / 'tools')


@pytest.fixture
def no_commands(monkeypatch):
    """Nothing is downloaded or installed."""

    def refuse(*_, **__):
        raise AssertionError('a command was started')

    monkeypatch.setattr(subprocess, 'Popen', refuse)


def family(name):
    from environment.families import FAMILIES

    return FAMILIES[name]


def one_line(done):
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 1 and line.startswith('set-up failed: ')
    return line


class TestRefusals:
    """docs/support.md shows them."""

    @pytest.mark.parametrize(
        'version, arguments, text',
        [
            ((3, 9, 0), [], 'Python 3.9 is too old; use Python 3.10 to 3.13'),
            (
                (3, 14, 1),
                [],
                'Python 3.14 is not supported: OpenMMLab runs on 3.10 to 3.12, OneDL runs on 3.10 to 3.13',
            ),
            ((3, 13, 0), ['--stack', 'openmmlab'], 'cannot be built on Python 3.13'),
            ((3, 11, 0), ['--stack', 'other'], 'STACK=other is not known; take STACK=openmmlab or STACK=onedl'),
        ],
    )
    def test_in_one_line_before_anything_is_made(
        self, version, arguments, text, tmp_path, monkeypatch, call_tool, no_commands
    ):
        monkeypatch.setattr(sys, 'version_info', version)
        assert text in one_line(call_tool(TOOL, tmp_path / 'venv', '--torch', TORCH, *arguments))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize('arguments', [[], ['--stack', 'onedl', '--any-python']])
    def test_a_machine_without_a_compiler(self, arguments, tmp_path, monkeypatch, call_tool, no_commands):
        monkeypatch.setenv('CXX', 'no-such-compiler')
        wheels = ['--wheels', tmp_path / 'wheels']
        done = call_tool(TOOL, tmp_path / 'venv', '--torch', TORCH, *wheels, *arguments)
        assert 'no C++ compiler found' in one_line(done)
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_of_somebody_else(self, tmp_path, call_tool, no_commands):
        (tmp_path / 'pyvenv.cfg').write_text('home = /usr/bin')
        done = call_tool(TOOL, tmp_path, '--torch', TORCH)
        assert 'was not made by this set-up' in one_line(done)
        assert (tmp_path / 'pyvenv.cfg').read_text() == 'home = /usr/bin'

    def test_a_python_that_is_not_there(self):
        # `make test` hands its own flags on.
        environment = {name: value for name, value in os.environ.items() if not name.startswith('MAKE')}
        command = ['make', 'PYTHON=python3.99', 'demo']
        done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True)
        line = 'set-up failed: there is no python3.99 here; name another Python: make PYTHON=python3.12'
        assert done.returncode and done.stdout == f'{line}\n'
        assert line.replace('3.99', '3.15') in (REPO / 'docs' / 'support.md').read_text()

    def test_an_old_python_can_read_the_file(self):
        source = (REPO / TOOL).read_text()
        assert 'f"' not in source and "f'" not in source and ' import annotations' not in source


class TestFamily:
    @pytest.mark.parametrize(
        'stack, version, name, says',
        [
            ('auto', (3, 10), 'openmmlab', ''),
            ('auto', (3, 12), 'openmmlab', ''),
            (
                'auto',
                (3, 13),
                'onedl',
                "OpenMMLab's packages cannot be built on Python 3.13: taking their forks, OneDL",
            ),
            ('onedl', (3, 10), 'onedl', ''),
        ],
    )
    def test_the_first_that_runs_on_this_python(self, stack, version, name, says):
        from environment.families import choose

        chosen, note = choose(stack, version)
        assert (chosen.name, note) == (name, says)

    def test_any_python_tries_the_maintained_one(self):
        from environment.families import choose

        assert choose('auto', (3, 14), any_python=True)[0].name == 'onedl'

    @pytest.mark.parametrize('name', ['openmmlab', 'onedl'])
    def test_pins_are_those_that_the_package_asks_for(self, name):
        """After a change of pyproject.toml: make pins."""
        from environment.pins import names

        pins = dict(line.split(' ')[0].split('==') for line in family(name).constraints.read_text().splitlines()[2:])
        assert names(family(name).constraints.read_text()) == set(pins)
        text = (REPO / 'pyproject.toml').read_text()
        lists = [
            line.partition(' = ')[2] for line in text.splitlines() if line.startswith((f'{name} = ', f'test-{name} = '))
        ]
        wanted = [Requirement(word) for words in lists for word in ast.literal_eval(words)]
        assert len(wanted) == {'openmmlab': 8, 'onedl': 6}[name]
        for requirement in wanted:
            assert requirement.name == 'fishnet-mmdet' or pins[requirement.name] in requirement.specifier

    @pytest.mark.parametrize('name', ['openmmlab', 'onedl'])
    def test_the_lock_has_all_of_them_with_hashes(self, name):
        """After a change of pyproject.toml: make pins."""
        from environment.locked import BUILD_TOOLS, entries
        from environment.pins import names

        locked = entries(family(name).lock.read_text())
        for line in family(name).constraints.read_text().splitlines()[2:]:
            assert line.split(';')[0].strip() in locked[line.partition('==')[0].lower()], line
        assert {*names(family(name).constraints.read_text()), *BUILD_TOOLS, 'torch', 'torchvision'} <= set(locked)
        for text in locked.values():
            for version in re.split(r'^(?=\S)', text, flags=re.MULTILINE)[1:]:
                assert re.search(r'--hash=sha256:[0-9a-f]{64}', version), version

    def test_the_lock_of_the_documentation_has_all_of_its_extra(self):
        """After a change of pyproject.toml: make pins."""
        from environment.locked import entries
        from environment.pins import DOCS_LOCK

        (extra,) = re.findall(r'^docs = (.*)$', (REPO / 'pyproject.toml').read_text(), re.MULTILINE)
        locked = entries(DOCS_LOCK.read_text())
        for requirement in map(Requirement, ast.literal_eval(extra)):
            versions = re.findall(r'^\S+==(\S+)', locked[requirement.name], re.MULTILINE)
            # A requirement with a marker is for some Pythons, and the lock has a version for each.
            fits = any if requirement.marker else all
            assert versions and fits(version in requirement.specifier for version in versions), requirement
        assert 'torch' not in locked
        assert all('--hash=sha256:' in text for text in locked.values())

    def test_packages_that_torch_brings_are_not_pinned(self):
        from environment.pins import names, render

        resolved = 'jinja2==3\nmmcv==2\ntorch==2\ntorchvision==0\nsetuptools==80\nsix==1 ; sys_platform == "win32"\n'
        pins = render(family('openmmlab'), resolved, brought='torch==2\njinja2==3\nsetuptools==80\n')
        assert names(pins) == {'mmcv', 'setuptools', 'six'} and 'STACK=openmmlab' in pins

    def test_each_has_an_environment_of_its_own(self):
        def folder(*variables):
            command = ['make', '-n', '-C', REPO, 'setup', *variables]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split('setup_env.py ')[1]

        assert folder().split()[0] == '.venv' and folder('STACK=onedl').split()[0] == '.venv-onedl'
        assert '--stack onedl' in folder('STACK=onedl') and '--any-python' in folder('ANY_PYTHON=1')


class TestLocked:
    TORCH_OF_THE_LOCK = 'torch==2.11.0 torchvision==0.26.0'

    def test_another_torch_is_refused(self, tmp_path, call_tool, no_commands):
        line = one_line(call_tool(TOOL, tmp_path / 'venv', '--torch', f'{TORCH} --index-url x', '--locked'))
        assert f'LOCKED=1 installs {self.TORCH_OF_THE_LOCK} from the package index' in line
        assert list(tmp_path.iterdir()) == []

    def test_the_makefile_asks_for_the_torch_of_the_lock(self):
        command = ['make', '-n', '-C', REPO, 'setup', 'LOCKED=1']
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert '--locked' in said and f"--torch '{self.TORCH_OF_THE_LOCK}'" in said

    def test_pip_gets_hashes_for_everything(self, tmp_path, monkeypatch):
        """First the build tools, then the rest; mmcv's source for its build; nothing by name alone."""
        from environment import create, locked, wheels

        calls = []

        def run(what, command, log, environment=None):
            files = [Path(word).read_text() for word in map(str, command) if word.endswith('.txt')]
            calls.append((what, list(map(str, command)), files))

        for module in (create, locked, wheels):
            monkeypatch.setattr(module, 'run_logged', run)
        monkeypatch.setattr(
            create, 'install_mmcv', lambda *args: wheels._build(args[0], args[1], tmp_path / 'shelf', args[4])
        )
        create._install_locked(tmp_path / 'python', family('openmmlab'), tmp_path, tmp_path, tmp_path / 'log')
        assert [what for what, *_ in calls] == [
            'installing the build tools', 'installing the packages', 'building mmcv', 'installing fishnet-mmdet',
        ]  # fmt: skip
        for _, command, files in calls[:3]:
            assert {'--require-hashes', '--no-deps', '--no-build-isolation'} <= {*command}
            assert len(files) == 1 and '--hash=sha256:' in files[0]
        tools, rest, mmcv = (files[0] for *_, files in calls[:3])
        assert tools.startswith('setuptools==') and '\nmmcv==' not in rest and '\ntorch==' in rest
        assert mmcv.startswith('mmcv==') and mmcv.count('==') == 1
        assert '--no-deps' in calls[3][1] and calls[3][1][-2] == '-e'

    @pytest.mark.parametrize('right', [True, False])
    def test_pip_refuses_another_file(self, right, tmp_path):
        """The flags, with a real pip and a wheel of our own."""
        from environment.locked import EXACT

        wheel, info = tmp_path / 'tiny_fish-1.0-py3-none-any.whl', 'tiny_fish-1.0.dist-info'
        with zipfile.ZipFile(wheel, 'w') as archive:
            archive.writestr('tiny_fish.py', '')
            archive.writestr(f'{info}/METADATA', 'Metadata-Version: 2.1\nName: tiny-fish\nVersion: 1.0\n')
            archive.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
            archive.writestr(f'{info}/RECORD', '')
        digest = hashlib.sha256(wheel.read_bytes() if right else b'').hexdigest()
        (tmp_path / 'r.txt').write_text(f'tiny-fish==1.0 \\\n    --hash=sha256:{digest}\n')
        places = ['--no-index', '--find-links', tmp_path, '--target', tmp_path / 'there']
        command = [sys.executable, '-m', 'pip', 'install', *places, *EXACT, '-r', tmp_path / 'r.txt']
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode == 0) == right, done.stderr
        assert right or 'DO NOT MATCH THE HASHES' in done.stderr


class TestWheels:
    @pytest.mark.parametrize('name', KEPT)
    def test_those_of_earlier_set_ups_are_found(self, name, tmp_path, monkeypatch):
        from environment.commands import SetupError
        from environment.wheels import check_compiler

        monkeypatch.setenv('CXX', 'no-such-compiler')
        wheel = tmp_path / KEPT[name]
        wheel.parent.mkdir()
        wheel.touch()
        monkeypatch.setattr(sys.implementation, 'cache_tag', KEPT[name][:11])
        check_compiler(family(name), tmp_path)
        for other, tag in ((name, 'cpython-310'), (({*KEPT} - {name}).pop(), KEPT[name][:11])):
            monkeypatch.setattr(sys.implementation, 'cache_tag', tag)
            with pytest.raises(SetupError, match='no C'):
                check_compiler(family(other), tmp_path)

    @pytest.mark.skipif(not shutil.which('c++'), reason='the wheels are kept, and there is no compiler')
    @pytest.mark.parametrize(('asked', 'compiles'), [('C++17', False), ('C++20', True)])
    def test_are_compiled_with_the_standard_that_torch_asks_for(self, asked, compiles, tmp_path):
        from environment.wheels import _compiler

        header = tmp_path / 'lib/python3.12/site-packages/torch/include/ATen/ATen.h'
        header.parent.mkdir(parents=True)
        header.write_text(f'#error {asked} or later compatible compiler is required to use ATen.\n')
        source = tmp_path / 'ops.cpp'
        source.write_text('static_assert(__cplusplus >= 202002L, "");\n')
        compiler = _compiler(tmp_path / 'bin' / 'python', tmp_path / 'building').get('CXX', 'c++')
        command = [compiler, '-fsyntax-only', '-std=c++17', source]
        assert (subprocess.run(command, capture_output=True).returncode == 0) == compiles

    def test_are_told_apart_by_python_torch_and_cuda(self):
        import torch
        from environment.wheels import DESCRIBE_TORCH

        key = subprocess.run([sys.executable, '-c', DESCRIBE_TORCH], capture_output=True, text=True, check=True).stdout
        assert key.startswith(f'{sys.implementation.cache_tag}-torch-{torch.__version__}-cuda{torch.version.cuda}-c')


class TestRecord:
    @pytest.mark.parametrize('stack', ['openmmlab', 'onedl'])
    def test_an_environment_that_is_up_to_date_is_kept(self, stack, tmp_path, monkeypatch, call_tool):
        from environment.create import Record, recipe

        monkeypatch.setattr(sys, 'version_info', (3, 12, 1))
        Record('3.12', stack, recipe(family(stack), [TORCH])).write(tmp_path)
        commands = []

        def run(command, **_):
            commands.append(command)
            return subprocess.CompletedProcess(command, 0)

        monkeypatch.setattr(subprocess, 'run', run)
        done = call_tool(TOOL, tmp_path, '--torch', TORCH, '--stack', stack)
        assert done.returncode == 0 and 'up to date: Python 3.12' in done.stdout
        # Only the test that the packages can be imported.
        ((python, flag, code),) = commands
        assert python == tmp_path / 'bin' / 'python' and flag == '-c' and 'import torch' in code

    def test_one_of_an_earlier_set_up_is_known(self, tmp_path):
        from environment.create import Record

        old = {'torch': ['torch==2.11.0'], 'python': '3.11.7 (main, May  9 2026) [GCC]', 'inputs': 'fa37'}
        (tmp_path / 'fishnet_setup.json').write_text(json.dumps(old))
        assert Record.read(tmp_path) == Record('3.11', 'openmmlab', None)

    def test_another_family_in_its_folder_is_made_again(self, tmp_path, monkeypatch):
        from environment import create

        create.Record('3.11', 'openmmlab', 'old').write(tmp_path)
        (tmp_path / 'of the other').touch()
        monkeypatch.setattr(create, 'check_compiler', lambda *_: None)
        monkeypatch.setattr(create.venv, 'create', lambda *_, **__: None)
        monkeypatch.setattr(create, '_install', lambda *_: None)
        monkeypatch.setattr(create, 'failure', lambda *_: 'No module named torch')
        with pytest.raises(create.SetupError, match='cannot be imported .No module named torch.'):
            create.set_up(tmp_path, family('onedl'), [TORCH], tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [create.RECORD]
        version = '{}.{}'.format(*sys.version_info[:2])
        assert create.Record.read(tmp_path) == create.Record(version, 'onedl', None)


class TestFailures:
    @pytest.mark.parametrize(
        'output, advice',
        [
            ('fatal error: Python.h: No such file or directory', 'apt install python3-dev'),
            ('c++: fatal error: Killed signal terminated program cc1plus', 'MAX_JOBS=1'),
            ('OSError: [Errno 28] No space left on device', 'the disk is full'),
            ('WARNING: NewConnectionError: Name or service not known', 'the package index cannot be reached'),
            ('ERROR: No matching distribution found for torch==9.9', 'no torch==9.9 for this Python'),
            ('nms.cpp:3:1: error: unknown type', 'the compiler failed ("nms.cpp:3:1: error: unknown type")'),
            ('ERROR: something else', 'ERROR: something else'),
            ('nothing known', 'the log says why'),
        ],
    )
    def test_end_in_one_line_and_the_path_of_the_log(self, output, advice, tmp_path):
        from environment.commands import SetupError, run_logged

        log = tmp_path / 'log'
        with pytest.raises(SetupError) as caught:
            run_logged('building mmcv', ['sh', '-c', f"echo 'before'; echo '{output}' >&2; exit 3"], log)
        line, path = str(caught.value).splitlines()
        assert line.startswith('building mmcv: ') and advice in line and path == f'  log: {log}'
        assert output in log.read_text() and 'before' in log.read_text()


def test_only_the_standard_library_is_imported():
    files = [*(REPO / 'tools' / 'environment').glob('*.py'), *(REPO / 'tools' / name for name in
             ('setup_env.py', 'pin_versions.py', 'try_matrix.py'))]  # fmt: skip
    allowed = {*sys.stdlib_module_names, 'environment'}
    for path in files:
        nodes = list(ast.walk(ast.parse(path.read_text())))
        names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
        assert {name.split('.')[0] for name in names} <= allowed, path
