"""The start of a process: how torch's threads will wait, as torch's import finds it, and the garbage collector."""

import gc
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPO
from mmengine.config import Config

from fishnet_mmdet.base.startup import COMMAND, MALLOC_OF_THE_USER, OF_THE_USER, RANKS, SPINS, collector_paused
from fishnet_mmdet.training.launch.formatted import FormattedOnce

DOORS = {
    'console script': ['-c', 'from fishnet_mmdet_console import main; main()', 'train'],
    'console module': ['-m', 'fishnet_mmdet_console', 'train'],
    'module': ['-m', 'fishnet_mmdet', 'train'],
    'module, joined': ['-mfishnet_mmdet', 'train'],
    'module of the laboratory': ['-m', 'fishnet_mmdet.lab.evaluators', '--images', '1'],
    'package of the laboratory': ['-m', 'fishnet_mmdet.lab.port_report'],
    'doctor': ['-m', 'fishnet_mmdet.doctor'],
    'tools/train.py': [str(REPO / 'tools' / 'train.py')],
}
"""Every way to start a command."""


@pytest.fixture
def seen_by_torch(tmp_path):
    """Starts Python, and returns what C finds of the variables when torch is imported, which then ends the process."""
    code = """
import ctypes, gc, sys
find = ctypes.CDLL(None).getenv
find.restype = ctypes.c_char_p
print(*(find(name) for name in (b'GOMP_SPINCOUNT', b'OMP_WAIT_POLICY')))
sys.stdout.flush()
sys.exit(0)
"""
    (tmp_path / 'torch.py').write_text(code)

    def start(*arguments, **variables):
        environment = {name: value for name, value in os.environ.items() if name not in OF_THE_USER}
        environment |= {'PYTHONPATH': os.pathsep.join([str(tmp_path), str(REPO)]), **variables}
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.replace("b'", '').replace("'", '').split()

    return start


class TestSpinCount:
    @pytest.mark.skipif(not sys.platform.startswith('linux'), reason='reads the environment of C')
    @pytest.mark.parametrize('door', DOORS)
    def test_every_command_sets_it_before_torch_is_imported(self, door, seen_by_torch):
        assert seen_by_torch(*DOORS[door]) == [SPINS, 'None']

    def test_every_script_of_a_clone_takes_the_same_door(self):
        scripts = [path for path in (REPO / 'tools').glob('*.py') if 'run_tool(' in path.read_text()]
        assert len(scripts) > 10
        for path in scripts:
            assert 'from clone import run_tool' in path.read_text() and 'import fishnet_mmdet' not in path.read_text()

    @pytest.mark.parametrize('door', ['console module', 'module', 'tools/train.py'])
    @pytest.mark.parametrize('name, seen', [('GOMP_SPINCOUNT', ['7', 'None']), ('OMP_WAIT_POLICY', ['None', '7'])])
    def test_the_user_decides(self, door, name, seen, seen_by_torch):
        assert seen_by_torch(*DOORS[door], **{name: '7'}) == seen

    def test_a_plugin_leaves_the_environment_alone(self, seen_by_torch, tmp_path):
        assert seen_by_torch('-c', 'import fishnet_mmdet') == ['None', 'None']
        (tmp_path / 'mine').mkdir()
        (tmp_path / 'mine' / '__init__.py').write_text('import fishnet_mmdet')
        (tmp_path / 'mine' / 'train.py').write_text('')
        (tmp_path / 'script.py').write_text('import fishnet_mmdet')
        for others in (['-m', 'mine.train', 'fishnet_mmdet'], ['script.py', '-m', 'fishnet_mmdet']):
            assert seen_by_torch(*others) == ['None', 'None']

    def test_children_inherit_it(self):
        """Loader workers and other processes that a command starts."""
        code = (
            'import os, runpy, subprocess, sys; runpy.run_path("fishnet_mmdet/base/startup.py")["begin"](os.environ);'
            """subprocess.run([sys.executable, '-c', 'import os; print(os.environ["GOMP_SPINCOUNT"])'], check=True)"""
        )
        environment = {name: value for name, value in os.environ.items() if name not in OF_THE_USER}
        done = subprocess.run(
            [sys.executable, '-c', code], env=environment, cwd=REPO, capture_output=True, text=True, timeout=60
        )
        assert done.stdout == f'{SPINS}\n', done.stderr


class TestFreedMemory:
    """A block of 64 MiB that is filled and freed, again and again, in a process that has begun as a command."""

    CODE = """
import gc, os, resource, runpy
startup = runpy.run_path('fishnet_mmdet/base/startup.py')
startup['begin'](os.environ)
import numpy as np
startup['keep_imports']()
print(startup['keep_freed_memory'](os.environ))
np.ones(64 << 20, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(64 << 20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

    def pages(self, code=CODE, **environment):
        """Whether malloc keeps blocks, and new pages of ten blocks."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(MALLOC_OF_THE_USER)}
        command = [sys.executable, '-c', code]
        done = subprocess.run(command, env=own | environment, cwd=REPO, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        kept, count = done.stdout.split()
        return kept == 'True', int(count)

    @pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='another library than glibc')
    def test_is_used_again(self):
        assert self.pages() == (True, pytest.approx(0, abs=50))

    def test_the_user_decides(self):
        kept, count = self.pages(MALLOC_TRIM_THRESHOLD_='1000000')
        assert not kept and count > 100

    @pytest.mark.parametrize('environment', [{}, {COMMAND: '1'}], ids=['of a plugin', 'started by a command'])
    def test_other_processes_are_left_alone(self, environment):
        kept, count = self.pages(self.CODE.replace("startup['begin'](os.environ)", ''), **environment)
        assert not kept and count > 100


class TestCollector:
    def test_is_as_before_after_imports_and_after_an_error(self):
        with collector_paused():
            assert not gc.isenabled()
        assert gc.isenabled()
        with pytest.raises(ImportError), collector_paused():
            raise ImportError
        assert gc.isenabled()
        gc.disable()
        try:
            with collector_paused():
                pass
            assert not gc.isenabled()
        finally:
            gc.enable()

    def test_imports_are_kept_in_the_process_of_a_command_only(self):
        """In a process that has not begun as one, a command freezes nothing."""
        code = """
import gc, runpy
before = gc.get_freeze_count()
runpy.run_path('fishnet_mmdet/base/startup.py')['keep_imports']()
print(gc.isenabled(), gc.get_freeze_count() <= before)
"""
        done = subprocess.run([sys.executable, '-c', code], cwd=REPO, capture_output=True, text=True, timeout=60)
        assert done.stdout.split() == ['True', 'True'], done.stderr

    def test_a_command_begins_without_and_works_with_it(self):
        code = """
import gc, os, runpy
startup = runpy.run_path('fishnet_mmdet/base/startup.py')
startup['begin'](os.environ)
print(gc.isenabled())
startup['keep_imports']()
print(gc.isenabled(), gc.get_freeze_count() > 1000)
"""
        done = subprocess.run([sys.executable, '-c', code], cwd=REPO, capture_output=True, text=True, timeout=60)
        assert done.stdout.split() == ['False', 'True', 'True'], done.stderr


class TestTextOfTheConfig:
    def test_equals_that_of_mmengine_and_is_formatted_once(self, demo_config, monkeypatch):
        import mmengine.config.config as module
        from yapf.yapflib import yapf_api

        # OneDL's imports the name where it uses it.
        holder = module if hasattr(module, 'FormatCode') else yapf_api
        formatted, format_code = [], holder.FormatCode
        monkeypatch.setattr(holder, 'FormatCode', lambda *args, **kw: formatted.append(1) or format_code(*args, **kw))
        cfg = FormattedOnce.of(demo_config)
        assert [cfg.pretty_text, cfg.copy().pretty_text, cfg.dump()] == [demo_config.pretty_text] * 3
        assert len(formatted) == 2

    def test_follows_changes(self, tmp_path):
        (tmp_path / 'x.py').write_text("a = 1\nmodel = dict(type='A')\n")
        cfg = FormattedOnce.of(Config.fromfile(tmp_path / 'x.py'))
        before = cfg.pretty_text
        cfg.model.type = 'B'
        cfg.dump(tmp_path / 'y.py')
        assert cfg.pretty_text == before.replace("'A'", "'B'") == Path(tmp_path / 'y.py').read_text()
        assert cfg.filename == str(tmp_path / 'x.py') and type(cfg.copy()) is FormattedOnce


class TestYapf:
    """The cache of its grammar, which another process is writing, is waited for where several start together."""

    CODE = 'import runpy, os; runpy.run_path({startup!r})["import_yapf"](os.environ, {attempts}); import yapf'

    @pytest.fixture
    def start(self, tmp_path):
        environment = {name: value for name, value in os.environ.items() if name not in RANKS}
        environment['XDG_CACHE_HOME'] = str(tmp_path)
        subprocess.run([sys.executable, '-c', 'import yapf'], env=environment, check=True)
        for path in (files := list(tmp_path.rglob('*.pickle'))):
            path.write_bytes(b'')

        def start(attempts=50, **variables):
            code = self.CODE.format(startup=str(REPO / 'fishnet_mmdet' / 'base' / 'startup.py'), attempts=attempts)
            command = [sys.executable, '-c', code]
            return subprocess.Popen(command, env={**environment, **variables}, stderr=subprocess.PIPE, text=True), files

        return start

    @pytest.mark.skipif(not sys.platform.startswith('linux'), reason='finds the cache folder of Linux')
    def test_a_rank_waits_until_the_file_is_whole(self, start):
        process, files = start(RANK='1')
        assert files
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        for path in files:
            path.unlink()  # the next import writes it
        _, said = process.communicate(timeout=30)
        assert process.returncode == 0, said

    @pytest.mark.parametrize('variables', [{}, dict(attempts=2, RANK='0')])
    def test_else_the_error_is_left_to_the_import(self, variables, start):
        process, _ = start(**variables)
        _, said = process.communicate(timeout=30)
        assert process.returncode and 'EOFError' in said
