"""The unit tests of MMEngine and mmdet pass with our classes in place of theirs, save what the documentation names.

Nothing is downloaded: MMENGINE_SOURCE and MMDET_SOURCE name checkouts of the installed versions, see
docs/differences.md. Each group of their tests runs twice, with their classes and with ours (tests/peers/). A statement
that fails with ours only must be named in docs/differences.md, and a statement that is named there must fail.
"""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import REPO

PEERS = REPO / 'tests' / 'peers'
PAGE = REPO / 'docs' / 'differences.md'

DETECTORS = (
    'rpn', 'two_stage', 'single_stage', 'single_stage_instance_seg', 'panoptic_two_stage_segmentor', 'semi_base',
    'detr', 'conditional_detr', 'dab_detr', 'deformable_detr', 'dino', 'ddq_detr', 'maskformer',
)  # fmt: skip
"""Detectors whose tests have a ResNet; those of distillation download a teacher and are not among them."""

GROUPS = {
    'hooks': ('mmengine', ['CheckpointHook'], ['tests/test_hooks']),
    'runner': (
        'mmengine',
        ['CheckpointHook', 'EpochBasedTrainLoop', 'IterBasedTrainLoop'],
        ['tests/test_runner/test_runner.py', '-k', 'not compile'],
    ),
    'checkpoints': ('mmengine', ['LocalBackend'], ['tests/test_runner/test_checkpoint.py']),
    # The tests of other backends need a network or a server.
    'file backends': (
        'mmengine',
        ['LocalBackend'],
        ['tests/test_fileio', '-k', 'not http and not petrel and not lmdb'],
    ),
    'model wrappers': (
        'mmengine',
        ['MMDistributedDataParallel'],
        ['tests/test_model/test_wrappers', 'tests/test_model/test_model_utils.py'],
    ),
    'COCO metric': ('mmdet', ['CocoMetric'], ['tests/test_evaluation/test_metrics/test_coco_metric.py']),
    'detectors': ('mmdet', ['ResNet'], [f'tests/test_models/test_detectors/test_{name}.py' for name in DETECTORS]),
}
"""By name: whose tests, classes in whose place ours must come to be used, and the arguments of pytest."""


@pytest.fixture(scope='module')
def copies(tmp_path_factory):
    """Returns a function that copies the tests of a peer once, with guarded statements."""
    made = {}

    def copy(peer):
        if peer not in made:
            root = tmp_path_factory.mktemp(peer)
            code = f'import guarded, pathlib; guarded.copy_tests(*map(pathlib.Path, {_tests_of(peer, root)!r}))'
            subprocess.run([sys.executable, '-c', code], cwd=PEERS, check=True)
            made[peer] = root
        return made[peer]

    return copy


def _tests_of(peer, target):
    variable = f'{peer.upper()}_SOURCE'
    source = Path(os.environ.get(variable) or pytest.skip(f'{variable} is not set; see docs/differences.md'))
    (theirs,) = re.findall(r"^__version__ = '(.+)'", (source / peer / 'version.py').read_text(), flags=re.MULTILINE)
    if theirs != version(peer):
        pytest.skip(f'{variable} is {peer} {theirs}, and {version(peer)} is installed')
    if find_spec('parameterized') is None:
        pytest.skip('their tests need the package parameterized')
    return [str(source / 'tests'), str(target / 'tests')]


def run(root, classes, arguments):
    """Runs tests with 'theirs' or 'ours'; returns the stand-ins that were used, and failures by test and line."""
    report = root / f'{classes}.json'
    report.unlink(missing_ok=True)
    environment = {
        **os.environ,
        'PEERS_CLASSES': classes,
        'PEERS_REPORT': str(report),
        'PYTHONPATH': os.pathsep.join([str(root), *map(str, (REPO, PEERS, REPO / 'tests')), *filter(None, sys.path)]),
        'OMP_NUM_THREADS': '1',
        # Without it, files that MMEngine writes cannot be read back since torch 2.6, and its own tests fail.
        'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD': '1',
    }
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'stand_ins', '-p', 'no:cacheprovider', f'--rootdir={root}']
    done = subprocess.run(
        [*command, *arguments], cwd=root, env=environment, capture_output=True, text=True, timeout=3600
    )
    assert report.exists(), done.stdout[-3000:] + done.stderr[-3000:]
    results = json.loads(report.read_text())
    failures = {
        name: {(Path(name.split('::')[0]).stem, int(line)): text for line, text in result['failures'].items()}
        for name, result in results['tests'].items()
        if not result['skipped']
    }
    return set(results['used']), failures


def named_differences():
    """Returns the statements that the tables of the page name, as in '`test_runner` 640, 2515-2516'."""
    named = set()
    for stem, lines in re.findall(r'`(test_\w+)` ([\d, -]*\d)', PAGE.read_text()):
        for first, last in re.findall(r'(\d+)(?:-(\d+))?', lines):
            named |= {(stem, line) for line in range(int(first), int(last or first) + 1)}
    return named


@pytest.mark.long
@pytest.mark.parametrize('group', GROUPS)
def test_passes_with_our_classes_save_named_differences(group, copies):
    peer, replaced, arguments = GROUPS[group]
    root = copies(peer)
    none, theirs = run(root, 'theirs', arguments)
    used, ours = run(root, 'ours', arguments)
    assert none == set() and used >= set(replaced)
    assert theirs.keys() == ours.keys()
    # On a stack on which their own tests fail, the comparison says nothing.
    assert sum(not failures for failures in theirs.values()) >= 0.6 * len(theirs), theirs
    found = {
        place: text for name, failures in ours.items() for place, text in failures.items() if place not in theirs[name]
    }
    files = {Path(name.split('::')[0]).stem for name in ours}
    named = {place for place in named_differences() if place[0] in files}
    assert {place: text for place, text in found.items() if place not in named} == {}
    assert named - found.keys() == set(), 'docs/differences.md names statements that pass'


def test_every_table_says_what_and_why():
    """A row is a difference, its reason, and the statements of others' tests that show it."""
    tables = [line for line in PAGE.read_text().splitlines() if line.startswith('|')]
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in tables]
    assert all(len(row) == 3 and row[0] and row[1] for row in rows)
    assert len(named_differences()) > 10
