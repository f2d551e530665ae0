"""The wheel is equal to the tree, and is enough to train and to test from an empty folder."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes

import pytest
from conftest import REPO, demo_options

START = """
import sys, fishnet_mmdet
from fishnet_mmdet_console import main
assert fishnet_mmdet.__file__.startswith(sys.argv.pop(1)), fishnet_mmdet.__file__
main()
"""
"""What the console script does, once it is sure that the package is that of the wheel."""

SOURCES = ['fishnet_mmdet', 'fishnet_mmdet_console.py', 'configs', 'pyproject.toml', 'setup.py', 'README.md', 'LICENSE']


def build(folder):
    """Builds a wheel with pip from a copy of the tree."""
    tree = folder / 'tree'
    tree.mkdir()
    for name in SOURCES:
        if (REPO / name).is_dir():
            shutil.copytree(REPO / name, tree / name, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copy(REPO / name, tree)
    command = [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', folder, tree]
    # Times in the archive are those of this variable, and not those of the build.
    environment = {**os.environ, 'SOURCE_DATE_EPOCH': '1700000000'}
    subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    (built,) = folder.glob('fishnet_mmdet-*.whl')
    return built


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    return build(tmp_path_factory.mktemp('wheel'))


@pytest.fixture(scope='module')
def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith('METADATA')]
        return message_from_bytes(archive.read(name))


class TestContent:
    def test_is_equal_to_the_tree(self, wheel):
        """Every module and every config, byte for byte, and nothing else."""
        with zipfile.ZipFile(wheel) as archive:
            packed = {name: archive.read(name) for name in archive.namelist() if '.dist-info/' not in name}
        tree = {path: path for path in [*REPO.glob('fishnet_mmdet/**/*.py'), REPO / 'fishnet_mmdet_console.py']}
        tree |= {path: path for path in [REPO / 'fishnet_mmdet/py.typed', *REPO.glob('fishnet_mmdet/runs/page.*')]}
        tree |= {path: path for path in REPO.glob('fishnet_mmdet/weights/shipped_files/*.safetensors')}
        tree |= {path: path for path in REPO.glob('fishnet_mmdet/data/*.txt')}
        tree |= {REPO / 'fishnet_mmdet' / path.relative_to(REPO): path for path in REPO.glob('configs/**/*.py')}
        tree |= {REPO / 'fishnet_mmdet' / path.relative_to(REPO): path for path in REPO.glob('configs/*.yml')}
        assert packed == {place.relative_to(REPO).as_posix(): path.read_bytes() for place, path in tree.items()}

    def test_every_file_is_one_of_the_repository(self, wheel):
        """Nothing is packed that git ignores."""
        command = ['git', 'ls-files', '--cached', '--others', '--exclude-standard', *SOURCES[:3]]
        listed = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
        if listed.returncode or not listed.stdout:
            pytest.skip('not a git checkout')
        ours = {name if name.startswith('fishnet') else f'fishnet_mmdet/{name}' for name in listed.stdout.split()}
        with zipfile.ZipFile(wheel) as archive:
            assert {name for name in archive.namelist() if '.dist-info/' not in name} <= ours

    def test_another_build_is_the_same_file(self, wheel, tmp_path):
        """With SOURCE_DATE_EPOCH set: so that somebody else can compare a wheel with the tree."""
        assert build(tmp_path).read_bytes() == wheel.read_bytes()

    def test_the_page_of_the_package_has_no_dead_link(self, metadata):
        page = metadata.get_payload()
        assert page.lstrip().startswith('# FishNet for MMDetection')
        assert re.findall(r'\]\((?!https?:)', page) == []

    def test_torch_and_the_openmmlab_packages_are_left_alone(self, metadata):
        needed = [line for line in metadata.get_all('Requires-Dist') if 'extra ==' not in line]
        assert not [line for line in needed if line.startswith(('mm', 'onedl', 'torchvision'))]


class TestFromAnEmptyFolder:
    @pytest.fixture(scope='class')
    def installed(self, wheel, tmp_path_factory):
        """The wheel, unpacked to a folder that goes before the installed package."""
        folder = tmp_path_factory.mktemp('site')
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        return folder

    def run(self, installed, folder, *arguments):
        environment = {**os.environ, 'PYTHONPATH': str(installed), 'OMP_NUM_THREADS': '1'}
        command = [sys.executable, '-c', START, installed, *map(str, arguments)]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)

    def test_trains_and_tests_a_config_by_name(self, installed, demo_data, tmp_path):
        options = [*demo_options(demo_data), 'train_cfg.max_epochs=1', 'train_dataloader.dataset.indices=2']
        name = 'mask_rcnn_fishnet_demo'
        trained = self.run(installed, tmp_path, 'train', name, '--cfg-options', *options)
        assert trained.returncode == 0, trained.stderr
        checkpoint = tmp_path / 'work_dirs' / name / 'epoch_1.pth'
        tested = self.run(installed, tmp_path, 'test', name, checkpoint, '--cfg-options', *options)
        assert tested.returncode == 0, tested.stderr
        assert (tmp_path / 'work_dirs' / name / 'ap_test.md').is_file()
