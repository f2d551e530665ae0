"""The support matrix: rows that go on where they stopped, and what is generated from their results."""

import subprocess
import sys

import pytest
from conftest import REPO

ROW = '3.11-onedl'
FIGURES = {'date': '2026-01-02', 'torch': '2.11.0', 'setup_seconds': 125, 'mmcv': 'built'}
TESTS = {'passed': 7, 'failed': 1, 'skipped': 2, 'failures': ['a::b']}


@pytest.fixture
def matrix(monkeypatch, tmp_path):
    """The matrix with its files in a folder of the test, steps that do nothing, and the list of those that ran."""
    monkeypatch.syspath_prepend(REPO / 'tools')
    from environment import matrix

    results = {}
    monkeypatch.setattr(matrix, 'REPO', tmp_path)
    monkeypatch.setattr(matrix, 'WORK', tmp_path / 'work')
    monkeypatch.setattr(matrix, 'read_results', lambda: dict(results))
    monkeypatch.setattr(matrix, 'write_results', lambda new: results.update(new))
    monkeypatch.setattr(matrix, 'write_generated', lambda results: None)
    monkeypatch.setattr(matrix, 'find_python', lambda version: sys.executable)
    ran = []

    def step(name, figures):
        def run(row, make, folder, log):
            ran.append(name)
            folder.mkdir(exist_ok=True)
            return figures

        monkeypatch.setattr(matrix, name, run)

    step('_set_up', {k: v for k, v in FIGURES.items() if k != 'date'})
    step('_test', TESTS)
    step('_demo', {'bbox': 57.1, 'segm': 55.7})
    return matrix, results, ran


def row(name):
    from environment.support import all_rows

    return next(row for row in all_rows() if row.name == name)


def test_a_row_goes_on_after_the_step_that_failed(matrix, monkeypatch):
    module, results, ran = matrix
    demo = module._demo

    def fail(*_):
        raise module.SetupError('demo: the disk is full\n  log: there')

    monkeypatch.setattr(module, '_demo', fail)
    assert not module.try_row(row(ROW), again=False, keep=False)
    assert results[ROW]['error'] == 'demo: the disk is full' and results[ROW]['passed'] == 7
    monkeypatch.setattr(module, '_demo', demo)
    assert module.try_row(row(ROW), again=False, keep=False)
    assert ran == ['_set_up', '_test', '_demo']
    assert 'error' not in results[ROW] and results[ROW]['bbox'] == 57.1
    # Its environment is gone, and it is not run again.
    assert not list(module.REPO.glob('.venv*'))
    assert module.try_row(row(ROW), again=False, keep=False) and len(ran) == 3
    assert module.try_row(row(ROW), again=True, keep=True) and len(ran) == 6
    assert list(module.REPO.glob('.venv*'))


def test_what_was_found_in_an_environment_that_is_gone_is_found_again(matrix):
    module, results, ran = matrix
    results[ROW] = dict(torch='1.0', passed=3, note='kept', date='2020-01-01')
    assert module.try_row(row(ROW), again=False, keep=False)
    assert ran == ['_set_up', '_test', '_demo'] and results[ROW]['passed'] == 7 and results[ROW]['note'] == 'kept'


def test_a_python_that_is_not_here_is_not_tried(matrix, monkeypatch, capsys):
    module, results, ran = matrix
    monkeypatch.undo()
    monkeypatch.syspath_prepend(REPO / 'tools')
    monkeypatch.setenv('PATH', '/nonexistent')
    assert not module.try_row(row('3.10-openmmlab'), again=False, keep=False)
    assert 'no python3.10 runs here' in capsys.readouterr().out and not ran


def test_tests_are_counted(matrix, tmp_path):
    module, *_ = matrix
    (tmp_path / 'test_x.py').write_text(
        'import pytest\ndef test_a(): pass\ndef test_b(): assert 0\n@pytest.mark.skip\ndef test_c(): pass\n'
        '@pytest.fixture\ndef bad(): raise OSError\ndef test_d(bad): pass\n'
    )
    report = tmp_path / 'report.xml'
    command = [
        sys.executable,
        '-m',
        'pytest',
        '-q',
        '-p',
        'no:cacheprovider',
        '-c',
        '/dev/null',
        f'--junitxml={report}',
    ]
    subprocess.run([*command, tmp_path / 'test_x.py'], capture_output=True, cwd=tmp_path)
    counted = module.count(report)
    assert (counted['passed'], counted['failed'], counted['skipped']) == (1, 2, 1)
    assert [name.split('::')[1] for name in counted['failures']] == ['test_b', 'test_d']


def test_the_table_shows_what_was_run_and_what_was_not(matrix):
    from environment.support import table, tried

    results = {ROW: {**FIGURES, **TESTS, 'bbox': 57.14, 'segm': 55.7, 'note': 'a reason'}, '3.13-onedl': FIGURES}
    lines = {tuple(line.split(' | ')[:3]): line for line in table(results).splitlines()}
    assert (
        lines['| 3.11', 'OneDL', '2.11.0']
        == '| 3.11 | OneDL | 2.11.0 | 2026-01-02 | 2 min 5 s, mmcv built | 7 | 1 | 2 | 57.1 / 55.7 | a reason |'
    )
    assert '| 2026-01-02 | 2 min 5 s, mmcv built | - | - | - | - |' in lines['| 3.13', 'OneDL', '2.11.0']
    assert '| not run yet |' in lines['| 3.12', 'OpenMMLab', 'pinned']
    # The doctor knows combinations whose tests ran.
    assert tried(results) == {('3.11', 'onedl', '2.11.0'): '2026-01-02: 7 passed, 1 failed'}


def test_page_and_doctor_are_generated(matrix, tmp_path, monkeypatch):
    """`make matrix` writes both; `tools/try_matrix.py --table` without running a row."""
    from environment import support

    from fishnet_mmdet.doctor.tried import TRIED

    results = support.read_results()
    assert support.table(results) in support.PAGE.read_text()
    assert support.tried(results) == TRIED
    for name in ('PAGE', 'DOCTOR'):
        copy = tmp_path / name
        copy.write_text(getattr(support, name).read_text())
        monkeypatch.setattr(support, name, copy)
    support.write_generated({ROW: {**FIGURES, **TESTS}})
    assert '| 2026-01-02 |' in support.PAGE.read_text()
    known = {}
    exec(support.DOCTOR.read_text(), known | {'__name__': 'copy'}, known)
    assert known['TRIED'] == {('3.11', 'onedl', '2.11.0'): '2026-01-02: 7 passed, 1 failed'}
    support.write_generated(results)
    assert support.DOCTOR.read_text() == (REPO / 'fishnet_mmdet' / 'doctor' / 'tried.py').read_text()


def test_the_doctor_installs_what_is_pinned(matrix):
    from environment.families import FAMILIES

    from fishnet_mmdet.doctor.packages import FORKS, ORIGINALS

    for family, packages in (('openmmlab', ORIGINALS), ('onedl', FORKS)):
        pins = FAMILIES[family].constraints.read_text().splitlines()
        assert {requirement.split()[0] for requirement in packages.values()} <= set(pins)
