"""The doctor on this machine, and on machines made ill on purpose."""

import os
import subprocess
import sys

import pytest
from conftest import REPO


def doctor(stubs, cwd=REPO):
    """Runs it in a process of its own, with packages of `stubs` found before the real ones."""
    path = os.pathsep.join([str(stubs), str(REPO)])
    environment = {**os.environ, 'PYTHONPATH': path, 'COLUMNS': '200'}
    command = [sys.executable, '-m', 'fishnet_mmdet.doctor']
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=120)


def test_a_sound_machine(tmp_path):
    done = doctor(tmp_path)
    assert done.returncode == 0, done.stdout
    assert 'ready to train' in done.stdout and 'FAIL' not in done.stdout
    assert len(done.stdout.splitlines()) < 30  # one screen
    for part in ('python', 'torch', 'torchvision', 'mmcv operators', 'mmdet', 'pycocotools', 'gpu', 'data'):
        assert part in done.stdout


@pytest.mark.parametrize(
    'package, told, fix',
    [
        ('torchvision', 'torchvision', 'from one index'),
        ('mmdet', 'mmdet', 'pip install mmdet==3.3.0'),
        ('mmengine', 'mmengine', 'pip install mmengine==0.10.7'),
    ],
)
def test_a_broken_package_is_named_with_its_mend(tmp_path, package, told, fix):
    (tmp_path / package).mkdir()
    (tmp_path / package / '__init__.py').write_text('raise ImportError("undefined symbol: _ZN3c10")')
    done = doctor(tmp_path)
    assert done.returncode == 1
    line = next(line for line in done.stdout.splitlines() if line.split()[:2] == ['FAIL', told])
    assert 'undefined symbol' in line
    assert fix in done.stdout and 'not ready' in done.stdout
    assert 'Traceback' not in done.stderr


def test_mmcv_of_another_torch(tmp_path):
    """The trap of pip's cache: mmcv imports, its compiled operators do not."""
    import mmcv

    (tmp_path / 'mmcv').mkdir()
    code = f"""
from pkgutil import extend_path
__path__ = [{os.path.dirname(mmcv.__file__)!r}]
__version__ = '2.1.0'
import sys, types
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == 'mmcv._ext':
            raise ImportError('_ext.so: undefined symbol: _ZN2at4_ops')
sys.meta_path.insert(0, Broken())
"""
    (tmp_path / 'mmcv' / '__init__.py').write_text(code)
    done = doctor(tmp_path)
    assert done.returncode == 1
    assert '--no-cache-dir' in done.stdout and '--no-build-isolation' in done.stdout


@pytest.mark.parametrize('original, fork', [('mmcv', 'onedl-mmcv'), ('mmdet', 'onedl-mmdetection')])
def test_both_families_at_once(tmp_path, original, fork):
    info = tmp_path / f'{fork.replace("-", "_")}-9.9.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {fork}\nVersion: 9.9\n')
    done = doctor(tmp_path)
    assert done.returncode == 1
    assert f'pip uninstall -y {original} {fork}' in done.stdout


def test_data_is_looked_for_where_one_stands(tmp_path, demo_data):
    assert 'neither' in doctor(tmp_path, cwd=tmp_path).stdout
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'demo').symlink_to(demo_data)
    assert 'demo set' in doctor(tmp_path, cwd=tmp_path).stdout
