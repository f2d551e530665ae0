"""The promises of SECURITY.md: no line of ours could execute the content of a file, and no tool does."""

import ast
import json
import os
import pickle
import re
import zipfile

import pytest
import torch
from conftest import CONFIGS, REPO, demo_options
from data_server import serving
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from weight_cases import Call

from fishnet_mmdet.base.errors import UserError, one_line_errors
from fishnet_mmdet.preflight.weights import check_pretrained
from fishnet_mmdet.training.launch.start import choose_start
from fishnet_mmdet.weights.errors import WeightsError

SOURCES = sorted([*REPO.glob('fishnet_mmdet/**/*.py'), *REPO.glob('tools/**/*.py')])

MODULES = {
    'pickle',
    '_pickle',
    'dill',
    'cloudpickle',
    'joblib',
    'shelve',
    'marshal',
    'pty',
    'commands',
}
"""Modules that nothing may import."""

YAML = {'safe_load', 'YAMLError'}
"""What may be used of yaml: other readers build any object that a file names."""

CALLS = {
    'eval', 'exec', 'compile', '__import__', 'os.system', 'os.popen', 'tempfile.mktemp', 'torch.hub.load',
    'mmengine.load', 'mmengine.fileio.load', 'mmdet.utils.all_reduce_dict', 'ssl._create_unverified_context',
}  # fmt: skip
"""Calls that nothing may make: they execute, race, unpickle by a file's ending, or trust any server."""

PICKLING = {
    'all_gather_object',
    'broadcast_object_list',
    'gather_object',
    'scatter_object_list',
    'send_object_list',
}
"""Collectives, of torch or MMEngine, that unpickle what another rank sends."""


def offences(source):
    """The names in a piece of Python that are on the lists above, with their lines."""
    tree = ast.parse(source)
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {(alias.asname or alias.name.split('.')[0]): alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {(alias.asname or alias.name): f'{node.module}.{alias.name}' for alias in node.names}
    found = [(name, 0) for name in {full.split('.')[0] for full in names.values()} & MODULES]
    found += [('yaml', 0) for full in names.values() if full.startswith('yaml.')]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if names.get(node.value.id) == 'yaml' and node.attr not in YAML:
                found.append((f'yaml.{node.attr}', node.lineno))
        if isinstance(node, ast.Call):
            head, _, rest = ast.unparse(node.func).partition('.')
            called = '.'.join(part for part in (names.get(head, head), rest) if part)
            words = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if (
                called in CALLS
                or called.split('.')[-1] in PICKLING
                or words.get('shell', 'False') != 'False'
                or words.get('allow_pickle', 'False') != 'False'
                or words.get('verify', 'True') == 'False'
                or (called == 'torch.load' and words.get('weights_only') != 'True')
            ):
                found.append((called, node.lineno))
    return found


@pytest.mark.parametrize('path', SOURCES, ids=lambda path: str(path.relative_to(REPO)))
def test_no_line_of_ours_executes_or_unpickles(path):
    # One file uses an exception of pickle, which torch's restricted unpickler also raises.
    allowed = [('pickle', 0)] if path.name == 'legacy.py' else []
    assert offences(path.read_text()) == allowed


def test_only_an_exception_is_imported_from_pickle():
    source = (REPO / 'fishnet_mmdet/training/checkpoints/legacy.py').read_text()
    assert set(re.findall(r'pickle\.(\w+)', source)) == {'UnpicklingError'}


@pytest.mark.parametrize(
    'line',
    [
        'import pickle', 'from pickle import loads', 'import yaml as y\ny.load(f)', 'from yaml import load',
        'import os\nos.system("x")', 'eval("1")', 'exec("1")', 'from os import system as s\ns("x")',
        'import subprocess\nsubprocess.run("x", shell=True)',
        'import torch\ntorch.load("x")', 'import torch\ntorch.load("x", weights_only=False)',
        'from torch import load\nload("x")', 'from mmengine.fileio import load\nload("x.pkl")',
        'import torch.distributed as d\nd.all_gather_object([], 1)',
        'import numpy as np\nnp.load("x", allow_pickle=True)', 'import tempfile\ntempfile.mktemp()',
        'from mmdet.utils import all_reduce_dict\nall_reduce_dict({})',
        'import requests\nrequests.get("x", verify=False)',
    ],
)  # fmt: skip
def test_the_search_would_find_it(line):
    assert offences(line)


def test_what_is_allowed_is_not_found():
    assert not offences('model.eval()\nimport torch\ntorch.load("x", weights_only=True)\nimport re\nre.compile("x")')
    assert not offences('import yaml\nyaml.safe_load("x")')
    assert len(SOURCES) > 40


@pytest.fixture
def payload(tmp_path):
    """A checkpoint like MMEngine's, whose message hub would leave a mark if it was unpickled."""
    mark = tmp_path / 'mark'
    content = {
        'state_dict': {'w': torch.ones(1)},
        'meta': {'epoch': 1, 'iter': 4},
        'message_hub': {'log_scalars': {'train/loss': Call(os.system, f'touch {mark}')}},
    }
    torch.save(content, tmp_path / 'epoch_1.pth')
    return tmp_path / 'epoch_1.pth', mark


def zip_of(path):
    packed = path.with_suffix('.zip')
    with zipfile.ZipFile(packed, 'w') as archive:
        archive.write(path, path.name)
    return packed


DOORS = {
    'resume': lambda path: ['--resume', path],
    'resume from the work dir': lambda path: ['--resume', '--work-dir', path.parent],
    'load_from': lambda path: ['--cfg-options', f'load_from={path}'],
    'pretrained': lambda path: [
        '--cfg-options', 'model.backbone.init_cfg.type=Pretrained', f'model.backbone.init_cfg.checkpoint={path}',
    ],
}  # fmt: skip
"""Flags that give a checkpoint to tools/train.py."""

OLD_TORCH = {'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD': '1'}
"""Lets torch unpickle where `weights_only=True` is not given, as torch before 2.6 does."""


@pytest.mark.parametrize(
    'door, environment',
    [
        ('resume', {}),
        *(pytest.param(door, {}, marks=pytest.mark.long) for door in list(DOORS)[1:]),
        *(pytest.param(door, OLD_TORCH, marks=pytest.mark.long) for door in DOORS),
    ],
)  # fmt: skip
def test_training_never_unpickles(payload, demo_data, tmp_path, run_tool, door, environment):
    path, mark = payload
    (tmp_path / 'last_checkpoint').write_text(str(path))
    flags = DOORS[door](path)
    if '--work-dir' not in flags:
        flags = ['--work-dir', tmp_path / 'run', *flags]
    if '--cfg-options' not in flags:
        flags.append('--cfg-options')
    config = CONFIGS / 'mask_rcnn_fishnet_demo.py'
    done = run_tool(
        'tools/train.py', config, *flags, *demo_options(demo_data), 'train_cfg.max_epochs=2', env=environment
    )
    assert not mark.exists()
    # A resume from the work dir may continue without a damaged file.
    if door != 'resume from the work dir':
        assert done.returncode != 0 and path.name in done.stderr + done.stdout


@pytest.mark.parametrize('reader', ['fishnet-run://', ''], ids=['ours', "MMEngine's"])
def test_a_resume_does_not_execute_the_text_of_a_config(forker, tmp_path, reader):
    """A string under a key where MMEngine expects a config: `weights_only` does not refuse it."""
    mark, run, file = tmp_path / 'mark', tmp_path / 'run', tmp_path / 'epoch_1.pth'
    job = dict(work_dir=str(run), workers=0, validate=False, ema=False)
    assert forker.run(**job, epochs=1) == [0]
    content = torch.load(run / 'epoch_1.pth', weights_only=True)
    content['meta']['config'] = f'x = __import__("os").mkdir({str(mark)!r})'
    torch.save(content, file)
    assert forker.run(**job, epochs=2, resume=True, load_from=f'{reader}{file}') == [0]
    assert (run / 'epoch_2.pth').is_file() and not mark.exists()


@pytest.mark.parametrize('packed', [False, pytest.param(True, marks=pytest.mark.long)], ids=['plain', 'in a zip'])
def test_testing_and_converting_never_unpickle(payload, demo_data, tmp_path, run_tool, call_tool, monkeypatch, packed):
    path, mark = payload
    path = zip_of(path) if packed else path
    config, options = CONFIGS / 'mask_rcnn_fishnet_demo.py', demo_options(demo_data)
    done = run_tool(
        'tools/test.py', config, path, '--work-dir', tmp_path / 'run', '--cfg-options', *options, env=OLD_TORCH
    )
    assert done.returncode == 1 and not mark.exists()
    assert 'nothing was executed' in done.stderr and path.name in done.stderr, done.stderr[-2000:]
    assert 'Traceback' not in done.stderr
    for name, value in OLD_TORCH.items():
        monkeypatch.setenv(name, value)
    done = call_tool('tools/convert_checkpoint.py', path, tmp_path / 'out.pth')
    assert done.returncode == 1 and not mark.exists()
    assert 'nothing was executed' in done.stderr and path.name in done.stderr


@pytest.fixture
def address(payload, tmp_path, monkeypatch):
    """The payload behind an address; plain HTTP is allowed to this machine only."""
    path, mark = payload
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    with serving({'/epoch_1.pth': path.read_bytes()}) as server:
        yield f'{server.url}/epoch_1.pth', mark


def test_an_address_is_never_unpickled(address, demo_data, tmp_path, run_tool):
    """torch.hub, which MMEngine downloads with, unpickles with any torch."""
    url, mark = address
    with pytest.raises(WeightsError, match='nothing was executed'):
        choose_start(Config(dict(work_dir=str(tmp_path))), url)
    start = choose_start(Config(dict(work_dir=str(tmp_path), load_from=url)), None)
    with pytest.raises(WeightsError, match='nothing was executed'):
        CheckpointLoader.load_checkpoint(start.load_from)
    config, options = CONFIGS / 'mask_rcnn_fishnet_demo.py', demo_options(demo_data)
    done = run_tool('tools/test.py', config, url, '--work-dir', tmp_path / 'run', '--cfg-options', *options)
    assert done.returncode == 1 and 'nothing was executed' in done.stderr and not mark.exists()


def test_the_check_of_other_backbones_never_unpickles(payload):
    """Where MMEngine would take such a file, which OneDL's does, there is nothing to report."""
    path, mark = payload
    init = dict(type='Pretrained', checkpoint=str(path))
    assert list(check_pretrained(dict(backbone=dict(type='ResNet', depth=50, init_cfg=init)))) == []
    assert not mark.exists()


def test_results_and_annotations_are_json_alone(tmp_path, call_tool):
    """A pickle with the name of a JSON file, as results or as annotations."""
    mark = tmp_path / 'mark'
    (tmp_path / 'bad.json').write_bytes(pickle.dumps(Call(os.system, f'touch {mark}'), protocol=0))
    (tmp_path / 'good.json').write_text(json.dumps({'images': [], 'categories': [], 'annotations': []}))
    for files in (('bad.json', 'good.json'), ('good.json', 'bad.json')):
        done = call_tool('tools/eval_results.py', *(tmp_path / name for name in files))
        assert done.returncode == 1 and 'bad.json: not JSON' in done.stderr and not mark.exists()


def test_no_message_moves_the_terminal():
    """Names from files and folders of others are in messages."""
    with pytest.raises(SystemExit) as end, one_line_errors():
        raise UserError('no file of name \x1b]0;title\x07a.jpg\nand the next line')
    assert end.value.code == 'error: no file of name \\x1b]0;title\\x07a.jpg\nand the next line'


def test_the_document_names_every_kind_of_file():
    text = (REPO / 'SECURITY.md').read_text()
    for word in (
        'config',
        'checkpoint',
        'annotation',
        'results',
        'image',
        'video',
        'YOLO',
        'get-coco',
        'LOCKED=1',
        'CVE-2025-32434',
        'CVE-2026-24747',
        'trusted',
    ):
        assert word in text
