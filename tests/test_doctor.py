"""The doctor on this machine, and in environments that are broken on purpose."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from conftest import REPO

from fishnet_mmdet.base import cores
from fishnet_mmdet.doctor import checks, packages, tried
from fishnet_mmdet.doctor.report import CHECKS

PACKAGES = packages.FORKS if packages.takes_forks() else packages.ORIGINALS
FILE = [str(REPO / 'fishnet_mmdet' / 'doctor')]
MODULE = ['-m', 'fishnet_mmdet.doctor']


def doctor(stubs, cwd=REPO, command=FILE):
    """Runs the doctor in a new process, with the packages of `stubs` before the real ones."""
    path = os.pathsep.join([str(stubs), str(REPO)])
    environment = {**os.environ, 'PYTHONPATH': path, 'COLUMNS': '200', 'OMP_NUM_THREADS': '1'}
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, cwd=cwd, env=environment, timeout=300
    )


def lines(done, name):
    """The line of a check and the one after it."""
    output = done.stdout.splitlines()
    start = next(i for i, line in enumerate(output) if line[7:].startswith(name))
    return output[start : start + 2]


def hide(folder, *packages):
    """Makes packages look as if they were not installed."""
    code = 'import sys\n' + ''.join(f'sys.modules[{package!r}] = None\n' for package in packages)
    (folder / 'sitecustomize.py').write_text(code)


def distribution(folder, name, version='9.9'):
    info = folder / f'{name.replace("-", "_")}-{version}.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')


def broken(folder, package):
    (folder / package).mkdir()
    (folder / package / '__init__.py').write_text('raise ImportError("undefined symbol: _ZN3c10")')


def test_a_sound_environment(tmp_path):
    done = doctor(tmp_path, command=MODULE)
    assert done.returncode == 0, done.stdout
    assert 'ready to train detectors and classifiers and segmentors' in done.stdout and 'FAIL' not in done.stdout
    # One screen.
    assert len(done.stdout.splitlines()) < 30
    for part in ('python', 'torch', 'torchvision', 'mmcv operators', 'mmdet', 'pycocotools', 'gpu', 'data'):
        assert part in done.stdout


@pytest.mark.parametrize(
    'package, fix',
    [
        ('torchvision', 'from one index'),
        ('mmdet', f'pip install {PACKAGES["mmdet"]}'),
        ('mmengine', f'pip install {PACKAGES["mmengine"]}'),
    ],
)
def test_a_broken_package_is_named_with_its_fix(tmp_path, package, fix):
    broken(tmp_path, package)
    # Without the time of their imports.
    hide(tmp_path, *({'mmdet', 'mmpretrain', 'mmseg'} - {package}))
    done = doctor(tmp_path)
    assert done.returncode == 1
    failed, after = lines(done, f'{package} ')
    assert failed.startswith(' FAIL') and 'undefined symbol' in failed
    assert after.split()[0] == 'fix:' and fix in after
    assert 'not ready to train' in done.stdout and 'Traceback' not in done.stderr


def test_as_a_module_a_broken_environment_ends_in_the_command_that_works(tmp_path):
    """Python imports the package before its module, so this form cannot run; its one line says which one can."""
    broken(tmp_path, 'mmengine')
    done = doctor(tmp_path, command=MODULE)
    assert done.returncode == 1 and not done.stdout
    (line,) = done.stderr.strip().splitlines()
    assert 'undefined symbol' in line and line.endswith(f'run: {sys.executable} {FILE[0]})')


def test_an_import_in_a_broken_environment_names_the_doctor(tmp_path):
    broken(tmp_path, 'mmengine')
    done = doctor(tmp_path, command=['-c', 'import fishnet_mmdet'])
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('ImportError: fishnet_mmdet cannot be imported') and last.endswith(FILE[0])


def test_without_mmdet_the_others_train(tmp_path):
    hide(tmp_path, 'mmdet', 'mmseg')
    done = doctor(tmp_path)
    assert done.returncode == 0, done.stdout
    for name, models in (('mmdet', 'detectors'), ('mmseg', 'segmentors')):
        note, after = lines(done, name)
        assert note.startswith(' note') and f'{models} cannot be trained' in note and 'pip install' in after
        assert f'{models} ({name} is not installed)' in done.stdout.splitlines()[-1]
    assert 'ready to train classifiers; not detectors' in done.stdout


def test_without_any_framework_nothing_trains(tmp_path):
    hide(tmp_path, 'mmdet', 'mmpretrain', 'mmseg')
    done = doctor(tmp_path)
    assert done.returncode == 1 and lines(done, 'mmpretrain')[0].startswith(' FAIL')


def test_mmcv_of_another_torch(tmp_path):
    """pip's cache does not know torch's version: mmcv imports, its compiled operators do not."""
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
    hide(tmp_path, 'mmdet', 'mmpretrain', 'mmseg')
    done = doctor(tmp_path)
    assert done.returncode == 1
    assert '--no-cache-dir' in done.stdout and '--no-build-isolation' in done.stdout


def test_both_families_at_once(tmp_path):
    for name in ('mmcv', 'onedl-mmcv', 'mmdet', 'onedl-mmdetection'):
        distribution(tmp_path, name)
    hide(tmp_path, 'torch', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'mmseg')
    done = doctor(tmp_path)
    assert done.returncode == 1
    assert 'pip uninstall -y mmcv onedl-mmcv mmdet onedl-mmdetection && pip install' in done.stdout


@pytest.mark.parametrize(
    'there, version, fix',
    [
        ({'mmcv', 'onedl-mmcv'}, (3, 12), 'mmcv==2.1.0'),
        ({'mmcv', 'onedl-mmcv'}, (3, 13), 'onedl-mmcv==2.3.6'),
        # The others say which family it is.
        ({'mmengine', 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmdetection'}, (3, 11), 'onedl-mmengine==0.10.12'),
        ({'mmengine', 'onedl-mmengine', 'mmcv', 'mmdet'}, (3, 13), 'mmengine==0.10.7'),
        ({'mmcv', 'mmcv-lite'}, (3, 11), 'mmcv==2.1.0'),
        ({'onedl-mmcv', 'mmcv-lite'}, (3, 11), 'onedl-mmcv==2.3.6'),
        ({'mmcv-lite'}, (3, 11), 'mmcv==2.1.0'),
    ],
)
def test_packages_that_overwrite_each_other(there, version, fix, monkeypatch):
    for module in (checks, packages):
        monkeypatch.setattr(module, 'installed', lambda: there)
    monkeypatch.setattr(sys, 'version_info', version)
    result = CHECKS['package families']('package families')
    assert result.state == 'FAIL' and result.fix.endswith(f' {fix}'), result.fix
    # The build of mmcv needs more than pip brings.
    assert ('psutil' in result.fix) == ('mmcv' in fix)
    gone = set(result.fix.partition(' && ')[0].split()) - {'pip', 'uninstall', '-y'}
    assert gone <= there and fix.partition('==')[0] not in there - gone


def test_a_combination_outside_the_matrix_was_not_tried(tmp_path):
    distribution(tmp_path, 'torch', '9.9+cu999')
    hide(tmp_path, 'torch', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'mmseg')
    line, _ = lines(doctor(tmp_path), 'combination')
    assert line.startswith(' note') and 'torch 9.9: not tried' in line


@pytest.mark.parametrize('failed, state', [(0, 'ok'), (1, 'note'), (10, 'note')])
def test_a_combination_of_the_matrix_was_tried(failed, state, monkeypatch):
    from importlib import metadata

    outcome = f'2026-01-02: 7 passed, {failed} failed'
    python = '{}.{}'.format(*sys.version_info[:2])
    for family, forks in (('openmmlab', False), ('onedl', True)):
        monkeypatch.setattr(tried, 'takes_forks', lambda forks=forks: forks)
        monkeypatch.setattr(metadata, 'version', lambda _: '2.9.1+cpu')
        monkeypatch.setattr(tried, 'TRIED', {(python, family, '2.9.1'): outcome})
        result = CHECKS['combination']('combination')
        assert result.state == state and result.text.endswith(f'tried on {outcome}')


@pytest.mark.parametrize(
    'there, version, forks',
    [
        ({'mmcv'}, (3, 13), False),
        ({'onedl-mmcv'}, (3, 11), True),
        (set(), (3, 12), False),
        (set(), (3, 13), True),
    ],
)
def test_advice_is_for_the_family_that_is_there_or_fits(there, version, forks, monkeypatch):
    monkeypatch.setattr(packages, 'installed', lambda: there)
    monkeypatch.setattr(sys, 'version_info', version)
    advice = packages.fixes()
    assert ('onedl' in advice['mmdet'], 'onedl' in advice['mmcv operators']) == (forks, forks)
    # A wheel has no clone.
    assert not [text for text in advice.values() if 'tools/' in text or '-e .' in text or 'make ' in text]


def test_mmcv_is_built_with_the_standard_that_torch_asks_for(monkeypatch, tmp_path):
    header = tmp_path / 'include/ATen/ATen.h'
    header.parent.mkdir(parents=True)
    monkeypatch.setattr(packages, 'find_spec', lambda _: SimpleNamespace(origin=str(tmp_path / '__init__.py')))
    assert packages.rebuild('mmcv').startswith('pip install')
    header.write_text('#error C++20 or later compatible compiler is required to use ATen.\n')
    command, _, rest = packages.rebuild('mmcv').partition('pip install')
    assert rest.endswith(' mmcv')
    (tmp_path / 'ops.cpp').write_text('static_assert(__cplusplus >= 202002L, "");\n')
    check = f'{command}$CXX -fsyntax-only -std=c++17 ops.cpp'
    if shutil.which('c++'):
        done = subprocess.run(check, shell=True, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


def test_data_is_found_from_the_working_folder(tmp_path, demo_data):
    """Without the packages too, which saves the time of their imports here."""
    hide(tmp_path, 'torch', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'mmseg')
    assert 'no data in data/coco or data/demo' in lines(doctor(tmp_path, cwd=tmp_path), 'data')[0]
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'demo').symlink_to(demo_data)
    assert 'demo data' in lines(doctor(tmp_path, cwd=tmp_path), 'data')[0]


class TestCores:
    """In this process, with the load and the threads of other machines."""

    @pytest.fixture
    def diagnose(self, monkeypatch):
        import torch

        def check(threads, cores_there, load, allowed=None, processes=None):
            monkeypatch.setattr(torch, 'get_num_threads', lambda: threads)
            monkeypatch.setattr(os, 'cpu_count', lambda: cores_there)
            monkeypatch.setattr(os, 'sched_getaffinity', lambda _: range(allowed or cores_there), raising=False)
            monkeypatch.setattr(os, 'getloadavg', lambda: (load, 0.0, 0.0), raising=False)
            monkeypatch.setattr(cores, '_quota', lambda _: float('inf'))
            monkeypatch.delenv('LOCAL_WORLD_SIZE', raising=False)
            if processes:
                monkeypatch.setenv('LOCAL_WORLD_SIZE', str(processes))
            return CHECKS['cores']('cores')

        return check

    def test_as_many_threads_as_free_cores(self, diagnose):
        result = diagnose(threads=8, cores_there=8, load=0.3)
        assert result.state == 'ok' and not result.fix and '8 for this process, 7.7 of them free' in result.text

    @pytest.mark.parametrize(
        'machine, fitting',
        [
            (dict(threads=8, cores_there=8, load=6.2), 2),
            (dict(threads=2, cores_there=2, load=9.0), 1),
            (dict(threads=8, cores_there=8, load=0.0, processes=4), 2),
            # A container of a large machine: torch does not know its quota.
            (dict(threads=64, cores_there=64, load=20.0, allowed=4), 4),
        ],
    )
    def test_more_threads_are_a_note_with_the_setting(self, machine, fitting, diagnose):
        result = diagnose(**machine)
        assert result.state == 'note' and f'OMP_NUM_THREADS={fitting},' in result.fix

    def test_one_thread_is_the_least(self, diagnose):
        assert diagnose(threads=1, cores_there=2, load=30.0).state == 'ok'

    @pytest.mark.parametrize(
        'files, quota',
        [
            ({'cpu.max': '150000 100000\n'}, 1.5),
            ({'cpu.max': 'max 100000\n'}, float('inf')),
            ({'cpu/cpu.cfs_quota_us': '200000\n', 'cpu/cpu.cfs_period_us': '100000\n'}, 2),
            ({'cpu/cpu.cfs_quota_us': '-1\n', 'cpu/cpu.cfs_period_us': '100000\n'}, float('inf')),
            ({}, float('inf')),
        ],
    )
    def test_quota_of_a_container(self, files, quota, tmp_path, monkeypatch):
        (tmp_path / 'cpu').mkdir()
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        monkeypatch.setattr(os, 'sched_getaffinity', lambda _: range(64), raising=False)
        assert cores.allowed_cores(tmp_path) == min(64, quota)
