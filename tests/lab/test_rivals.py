"""FishNet against runtimes of ONNX files: their settings, what cannot be timed, going on, one run of the tool."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fishnet_mmdet import FishNet
from fishnet_mmdet.lab.benchmark.contenders import Contender
from fishnet_mmdet.lab.benchmark.networks import NETWORKS, Network
from fishnet_mmdet.lab.benchmark.rivals import lines, measure, runtimes
from fishnet_mmdet.lab.benchmark.rivals.grid import DEFAULT, QUICK, Cell, make_grid
from fishnet_mmdet.lab.benchmark.rivals.lines import Line
from fishnet_mmdet.lab.benchmark.rivals.measure import missing, not_timed
from fishnet_mmdet.lab.benchmark.rivals.runtimes import RUNTIMES, NotOffered
from fishnet_mmdet.lab.benchmark.rivals.table import tables
from fishnet_mmdet.lab.benchmark.rivals.worker import Opener, Refused, Worker, draw_images, prepare
from fishnet_mmdet.lab.benchmark.tasks import BenchmarkError
from fishnet_mmdet.lab.benchmark.timing import Budget
from fishnet_mmdet.lab.machine import describe

TINY = dict(
    stem_width=16,
    tail=(1, 1, 1),
    bridge=1,
    body=(1, 1, 1),
    body_transfer=(1, 1, 1),
    head=(1, 1, 1),
    head_transfer=(1, 1, 1),
)


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """A folder with the ONNX file and the reference of a tiny FishNet, which is in `NETWORKS` meanwhile."""
    folder, answers = tmp_path_factory.mktemp('tiny'), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, 'tiny', Network(lambda *, fixed: FishNet(TINY), peer='tiny'))
        prepare(SimpleNamespace(send=answers.append), 'tiny', [64], folder, torch.get_num_threads())
        assert answers == [None]
        yield folder


IN_OPENVINO = """
import json, sys
from pathlib import Path
from fishnet_mmdet.lab.benchmark.contenders import Contender
from fishnet_mmdet.lab.benchmark.rivals.worker import Opener
opener, rows = Opener(Contender('tiny', sys.argv[1]), Path(sys.argv[2]), 1), []
for batch in (1, 3):
    run = opener.open(batch, 64)
    rows.append((len(run()[0]), float(opener.difference(run, 64))))
print(json.dumps(rows))
"""


def opened(form, folder):
    return Opener(Contender('tiny', form), folder, torch.get_num_threads())


class TestContenders:
    @pytest.mark.parametrize(
        'form, bound',
        [
            ('optimized', 1e-4),
            ('channels_last', 1e-4),
            ('onnxruntime', 1e-4),
        ],
    )
    def test_each_computes_the_features(self, tiny, form, bound):
        if form in RUNTIMES and not RUNTIMES[form].is_installed:
            pytest.skip(f'{RUNTIMES[form].package} is not installed')
        opener = opened(form, tiny)
        for batch in (1, 3):
            try:
                run = opener.open(batch, 64)
            except NotOffered as why:
                pytest.skip(str(why))
            assert len(run()[0]) == batch
            assert 0 <= opener.difference(run, 64) < bound

    @pytest.mark.parametrize('form, bound', [('openvino', 1e-4), ('openvino-bf16', 0.3)])
    def test_openvino_computes_the_features(self, tiny, form, bound):
        """In a process of its own: a later signal crashed one that other tests shared."""
        if not RUNTIMES[form].is_installed:
            pytest.skip('openvino is not installed')
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', IN_OPENVINO, form, tiny], capture_output=True, text=True
        )
        if 'NotOffered' in done.stderr:
            pytest.skip(done.stderr.splitlines()[-1])
        rows = json.loads(done.stdout.splitlines()[-1])
        assert [count for count, _ in rows] == [1, 3]
        assert all(0 <= difference < bound for _, difference in rows)

    def test_other_features_are_a_difference(self, tiny):
        opener = opened('eager', tiny)
        run = opener.open(1, 64)
        assert opener.difference(run, 64) == 0
        assert opener.difference(lambda: [level + level.abs().max() for level in run()], 64) >= 1
        assert np.isnan(opener.difference(lambda: [level * float('nan') for level in run()], 64))

    def test_images_are_the_same_everywhere(self):
        three = draw_images(3, 64)
        assert three.shape == (3, 3, 64, 64) and np.array_equal(three[2:], draw_images(1, 64))


def crash(pipe):
    os._exit(7)


class TestWhatIsNotTimed:
    def test_an_absent_package_is_named_with_its_command(self, monkeypatch):
        monkeypatch.setattr(runtimes, 'find_spec', lambda name: None)
        for form in ('onnxruntime', 'openvino', 'openvino-bf16'):
            package = RUNTIMES[form].package
            assert not_timed(Contender('fishnet99', form)) == ('not installed', f'pip install {package}')
        status, reason = not_timed(Contender('fishnet99', 'onnxruntime-bf16'))
        assert status == 'not offered' and 'bfloat16' in reason
        assert not_timed(Contender('fishnet99', 'optimized')) is None

    def test_a_process_that_dies_is_an_answer(self):
        worker = Worker(crash)
        assert worker.ask('load', 1, 64) == Refused('failed', 'the process ended with status 7')
        worker.close()

    @pytest.mark.parametrize(
        'given, named',
        [
            (dict(given=['fishnet99:onnx']), 'unknown form'),
            (dict(given=['fishnet99:with_cp=norm']), 'for training'),
            (dict(given=['pytorchcv-fishnet99:openvino']), 'give fishnet99'),
            (dict(given=['vgg:openvino']), 'unknown network'),
            (dict(given=QUICK, sides=[100]), '--sizes 100: must be a multiple of 32'),
            (dict(given=QUICK, batches=[0]), '--batches 0: must be a multiple of 1'),
        ],
    )
    def test_what_cannot_be(self, given, named):
        with pytest.raises(BenchmarkError, match=named):
            make_grid(**dict(sides=(), batches=()) | given)


class TestGrid:
    def test_the_default(self):
        grid = make_grid(DEFAULT, (), ())
        assert list(grid) == ['fishnet99', 'fishnet150', 'fishnet201', 'resnet50']
        contenders, cells = grid['fishnet150']
        assert contenders[0] == Contender('pytorchcv-fishnet150', 'eager') and len(contenders) == 3 + len(RUNTIMES)
        assert {cell.side for cell in cells} >= {224, 448, 672, 896, 1120, 1344}
        assert {cell.batch for cell in cells} == {1, 2, 4, 8}

    def test_given_sizes_and_batches(self):
        _, cells = make_grid(['resnet50'], [64, 96], [1, 2])['resnet50']
        assert cells == [('resnet50', 1, 64), ('resnet50', 1, 96), ('resnet50', 2, 64)]


CELL = Cell('fishnet99', 1, 64)


def line(form, seconds=(), status='timed', network='fishnet99', side=64, **more):
    more |= dict(package='torch 2', machine=describe('cpu'))
    return Line(
        cell='fishnet99', batch=1, side=side, network=network, form=form, status=status, seconds=list(seconds), **more
    )


class TestLines:
    def test_what_an_earlier_call_left(self, tmp_path, monkeypatch):
        contenders = [Contender('fishnet99', form) for form in ('optimized', 'openvino')]
        file = tmp_path / 'new' / lines.NAME
        want = partial(missing, contenders, [CELL, Cell('fishnet99', 1, 96)])
        assert lines.read(file) == {} and len(want({})) == 2
        absent = line('openvino', status='not installed', reason='pip install openvino')
        lines.append(file, [line('optimized', [1.0]), absent])
        monkeypatch.setattr(runtimes, 'find_spec', lambda name: None)
        assert want(lines.read(file)) == [Cell('fishnet99', 1, 96)]
        monkeypatch.setattr(runtimes, 'find_spec', lambda name: name)  # installed meanwhile
        assert len(want(lines.read(file))) == 2

    def test_the_last_measurement_of_a_cell_counts(self, tmp_path):
        file = tmp_path / lines.NAME
        lines.append(file, [line('optimized', [1.0]), line('eager', [2.0])])
        lines.append(file, [line('optimized', [3.0], side=96)])
        lines.append(file, [line('optimized', [4.0])])
        read = lines.read(file)
        assert [each.seconds for each in read[CELL]] == [[4.0]] and len(read) == 2

    def test_new_contenders_are_measured_beside_those_of_an_earlier_call(self, tmp_path, monkeypatch):
        """Rounds of different calls do not compare."""
        eager, optimized = Contender('fishnet99', 'eager'), Contender('fishnet99', 'optimized')
        monkeypatch.setattr(measure, '_workers', lambda *args: nullcontext({}))
        monkeypatch.setattr(
            measure, '_measure_cell', lambda cell, contenders, *_: [line(each.form, [1.0, 2.0]) for each in contenders]
        )
        file = tmp_path / lines.NAME
        lines.append(file, [line('eager', [3.0])])
        plan = measure.RivalsPlan(
            grid={'fishnet99': ([optimized], [CELL])}, file=file, budget=Budget(seconds=0, rounds=2), threads=1,
            deadline=float('inf'), machine={},
        )  # fmt: skip
        list(measure.measure_rivals(plan, lines.read(file), lambda *_: None))
        read = lines.read(file)[CELL]
        assert [(each.contender, each.seconds) for each in read] == [(eager, [1.0, 2.0]), (optimized, [1.0, 2.0])]
        assert tables({CELL: read})

    def test_a_line_that_was_cut_off(self, tmp_path):
        file = tmp_path / lines.NAME
        file.write_text('{"cell": "fishnet99", "ba')
        lines.append(file, [line('optimized', [1.0])])
        assert [each.seconds for each in lines.read(file)[CELL]] == [[1.0]]
        file.write_text('{"row": 1}\n')
        with pytest.raises(BenchmarkError, match=f'{lines.NAME}:1 cannot be read'):
            lines.read(file)


def test_tables():
    """A drift of the machine cancels in the ratio; a contender that failed is named with its reason."""
    of_cell = [
        line('eager', [1.0, 2.0, 4.0], network='pytorchcv-fishnet99', difference=1e-6),
        line('optimized-bf16', [0.25, 0.5, 1.0], difference=0.02),
        line('openvino', [float('nan')], status='failed', reason='the process ended with status -9'),
    ]
    later = [line('optimized-bf16', [1.0], side=96, difference=0.04)]
    times, differences = tables({CELL: of_cell, Cell('fishnet99', 1, 96): later})
    grid = times.markdown()
    assert '| network, images | pytorchcv eager | optimized-bf16 | openvino |' in grid
    assert '| fishnet99, 1 x 64 x 64 | 2000 (1.00) | 500 (4.00) | failed |' in grid
    assert '| fishnet99, 1 x 96 x 96 | - | 1000 (1.00) | - |' in grid
    assert 'openvino: failed: the process ended with status -9.' in grid
    assert '| fishnet99 | 1.0e-06 | 4.0e-02 | - |' in differences.markdown()


class TestTool:
    def test_in_pieces(self, call_tool, tmp_path):
        forms = ['optimized-bf16', *RUNTIMES]
        flags = ['--rivals', '--quick', '--out', tmp_path, '--threads', torch.get_num_threads()]
        flags += ['--contenders', 'pytorchcv-fishnet99', f'fishnet99:{",".join(forms)}']
        nothing = call_tool('tools/benchmark.py', *flags, '--minutes', 0)
        assert nothing.returncode == 0 and '1 cells are left: call again with --resume' in nothing.stdout
        done = call_tool('tools/benchmark.py', *flags)
        assert done.returncode == 0, done.stderr[-3000:]
        rows = [json.loads(text) for text in (tmp_path / lines.NAME).read_text().splitlines()]
        assert [(row['network'], row['form']) for row in rows] == [
            ('pytorchcv-fishnet99', 'eager'), *(('fishnet99', form) for form in forms)
        ]  # fmt: skip
        for row in rows:
            if row['form'] == 'onnxruntime-bf16':
                assert row['status'] == 'not offered'
            elif row['form'].startswith('openvino') and importlib.util.find_spec('openvino') is None:
                assert (row['status'], row['reason']) == ('not installed', 'pip install openvino')
            elif row['status'] != 'not offered':
                assert len(row['seconds']) == 2 and min(row['seconds']) > 0, row
                assert row['difference'] < (0.6 if 'bf16' in row['form'] else 1e-3), row

        before = (tmp_path / lines.NAME).read_text()
        again = call_tool('tools/benchmark.py', *flags)
        assert again.returncode == 1 and re.match('error: .*give --resume to continue', again.stderr)
        table = call_tool('tools/benchmark.py', *flags, '--resume')
        assert table.returncode == 0 and (tmp_path / lines.NAME).read_text() == before
        assert '| fishnet99, 1 x 64 x 64 | ' in (tmp_path / 'rivals.md').read_text()
        assert '| fishnet99 | 0.0e+00 | ' in (tmp_path / 'differences.md').read_text()
        assert not list(tmp_path.glob('.rivals-*'))

    @pytest.mark.parametrize(
        'flags, named',
        [
            (['--rivals', '--detector'], '--device and --detector'),
            (['--rivals', '--minutes', -1], '--minutes -1: must be at least 0'),
            (['--resume'], '--minutes, --resume: they need --rivals'),
        ],
    )
    def test_bad_input_is_refused_before_any_work(self, flags, named, call_tool, tmp_path):
        done = call_tool('tools/benchmark.py', '--out', tmp_path, *flags)
        assert done.returncode == 1 and re.match(f'error: .*{named}', done.stderr) and done.stderr.count('\n') == 1
