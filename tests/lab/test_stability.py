"""The grid of warm-ups and learning rates: outcomes, table, and a second call that continues.

For docs/results.md, which shows the whole command.
"""

import json

import pytest

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.commands import run_command
from fishnet_mmdet.lab.stability import Cell, Outcome, table, train_grid

FLAGS = ['--networks', 'fishnet150-no-zero', '--warm-ups', '0', '--seeds', '0', '--iterations', '6']


def test_a_run_that_diverges_is_in_file_and_table(tmp_path, capsys):
    """Random weights, no norm in the neck, a high rate: the case that the grid is for."""
    out = tmp_path / 'new' / 'outcomes.json'
    assert run_command('stability', [*FLAGS, '--rates', '0.5', '--out', str(out)]) == 0
    assert '| 0 | 0.5 | 0 | diverged at ' in capsys.readouterr().out
    (row,) = json.loads(out.read_text())
    assert row['cell'] == dict(network='fishnet150-no-zero', warm_up=0, rate=0.5, seed=0, iterations=6)
    assert row['outcome']['finished'] < 6 and row['outcome']['gradient'] > 20
    # The run in the file is not repeated, and the table has the new one too.
    row['outcome'].update(finished=6, first=2.0, last=1.5)
    out.write_text(json.dumps([row]))
    assert run_command('stability', [*FLAGS, '--rates', '0.5', '1e-9', '--out', str(out)]) == 0
    shown = capsys.readouterr().out
    assert '| 0 | 0.5 | 0 | 1.50 |' in shown and '| 0 | 1e-09 | 0 | ' in shown
    assert len(json.loads(out.read_text())) == 2


def test_the_table_says_how_each_run_ended():
    cells = [Cell(network=n, warm_up=12, rate=0.02, seed=0, iterations=9) for n in ('resnet50', 'fishnet150')]
    alike = dict(first=2.0, worst=3.0, gradient=8.25)
    outcomes = {
        cells[0]: Outcome(finished=9, last=2.5, **alike),
        cells[1]: Outcome(finished=4, last=1.0, **alike),
    }
    assert table(outcomes).splitlines()[2] == '| 12 | 0.02 | 0 | 2.50, not below the first loss | diverged at 5 |'


def test_a_file_of_another_kind_is_not_overwritten(tmp_path):
    (tmp_path / 'other.json').write_text('{"a": 1}')
    with pytest.raises(ConfigError, match='--out'):
        train_grid([], tmp_path / 'other.json')
    assert (tmp_path / 'other.json').read_text() == '{"a": 1}'
    with pytest.raises(ConfigError, match='--out'):
        train_grid([], tmp_path)


def test_the_first_gradient_of_each_seed():
    cells = [Cell(network='resnet50', warm_up=w, rate=0.02, seed=s, iterations=9) for s in (0, 1) for w in (0, 9)]
    outcomes = {c: Outcome(finished=9, first=2.0, worst=3.0, last=1.0, gradient=8.2 + 3.5 * c.seed) for c in cells}
    assert table(outcomes).endswith('Norm of the first gradient: resnet50 8.2 and 11.7.')
