"""The benchmark: timings in turns, features of every form, one run of the tool."""

import json
import math
import re
from dataclasses import replace
from functools import cache, partial

import pytest
import torch
from conftest import REPO
from matplotlib.image import imread
from torch import nn

from fishnet_mmdet.lab.benchmark import contenders as who
from fishnet_mmdet.lab.benchmark.contenders import (
    DEFAULT,
    QUICK,
    Contender,
    baseline,
    build,
    installed,
    read_contenders,
)
from fishnet_mmdet.lab.benchmark.detector import DETECTORS
from fishnet_mmdet.lab.benchmark.forms import FORMS
from fishnet_mmdet.lab.benchmark.measure import (
    BackboneStep,
    BenchmarkPlan,
    ignore_progress,
    measure_in_turns,
    pass_over_if_out_of_memory,
)
from fishnet_mmdet.lab.benchmark.measurement import Case
from fishnet_mmdet.lab.benchmark.networks import gmacs
from fishnet_mmdet.lab.benchmark.peaks import highest, measure_peaks
from fishnet_mmdet.lab.benchmark.plot import draw
from fishnet_mmdet.lab.benchmark.report import BenchmarkReport
from fishnet_mmdet.lab.benchmark.tasks import TASKS, BenchmarkError
from fishnet_mmdet.lab.benchmark.timing import Budget, quartiles, speed_ratio, take_turns
from fishnet_mmdet.lab.machine import describe


class TestTimings:
    def test_in_turns(self):
        order = []
        works = {name: partial(order.append, name) for name in 'abc'}
        seconds = take_turns(works, dict(a=1, b=2, c=1), Budget(seconds=0, rounds=3), 'cpu')
        assert order == list('abbc') * 3
        assert {name: len(values) for name, values in seconds.items()} == dict(a=3, b=3, c=3)

    def test_goes_on_until_the_budget_is_spent(self):
        done = []
        sleepy = {name: partial(torch.randn, 40_000) for name in 'ab'}
        take_turns(sleepy, dict(a=1, b=1), Budget(seconds=0.05, rounds=1), 'cpu', done.append)
        assert len(done) > 2 and done == sorted(done) and done[-1] == 1

    def test_a_drift_cancels_in_the_ratio(self):
        drifting = [1.0, 1.5, 4.0, 2.0]
        assert speed_ratio(drifting, [2 * value for value in drifting]) == 2

    def test_quartiles(self):
        assert quartiles([3.0]) == (3, 3, 3)
        assert quartiles([5.0, 1.0, 3.0, 2.0, 4.0]) == (3, 2, 4)

    def test_what_runs_out_of_memory_stays_in_the_table(self, tmp_path):
        class Hungry:
            def __init__(self, hungry):
                self.network, self.hungry = nn.Identity(), hungry

            def forward(self):
                if self.hungry:
                    raise torch.OutOfMemoryError
                return torch.rand(2, 8, 32, 32)

            __call__ = graph = forward

        rows = measure_in_turns(
            {'big': Hungry(True), 'small': Hungry(False)},
            Case(task='inference', batch=1, height=32, width=32),
            Budget(seconds=0, rounds=2), 'cpu', ignore_progress,
            baseline=lambda _, timed: timed[0], training=False,
        )  # fmt: skip
        assert [row.timing is None for row in rows] == [True, False]
        assert rows[1].ratios == ('small', 1, 1)
        report = BenchmarkReport(describe('cpu'), measure_peaks('cpu', quick=True), rows)
        assert 'out of memory' in report.table().markdown()
        lost, kept = json.loads(report.json())['measurements']
        assert lost.keys() == kept.keys() and lost['ms'] is None and kept['rounds'] == 2
        draw(report, tmp_path / 'benchmark.png')
        # Nothing fits, at one size and at several.
        draw(replace(report, measurements=[rows[0]]), tmp_path / 'nothing.png')
        several = [replace(rows[0], case=replace(rows[0].case, height=side, width=side)) for side in (32, 64)]
        draw(replace(report, measurements=several), tmp_path / 'nothing.png')

    def test_memory_that_runs_out_on_a_cpu(self):
        with pytest.raises(RuntimeError) as error:
            torch.empty(2**55)
        pass_over_if_out_of_memory(error.value)
        with pytest.raises(RuntimeError, match='size mismatch'):
            pass_over_if_out_of_memory(RuntimeError('size mismatch'))


LONG = ('optimized-compiled',)  # the code of optimized-bf16-compiled in another dtype
CASES = [
    pytest.param(task, form, marks=[pytest.mark.long] if form in LONG else [])
    for task in TASKS
    for form in FORMS
    if task in FORMS[form].tasks and form not in ('eager', 'compiled')  # tests/network compiles the backbone
]


def features(task, form):
    """Features of FishNet-99 in a form, for one batch."""
    x = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    return BackboneStep(build(Contender('fishnet99', form), TASKS[task], 'cpu'), TASKS[task], x).forward()


eager_features = cache(partial(features, form='eager'))


class TestContenders:
    def test_every_default_is_known(self):
        assert read_contenders(DEFAULT) and read_contenders(QUICK)

    def test_forms_are_put_together(self):
        made = Contender('fishnet150', 'with_cp=norm+channels_last+amp').made
        assert made.arguments == dict(with_cp='norm') and made.dtype == torch.bfloat16
        assert made.tasks == ('fixed', 'live')

    @pytest.mark.parametrize('task, form', CASES)
    def test_every_form_gives_the_features_of_eager(self, form, task):
        eager, other = eager_features(task), features(task, form)
        tolerance = 1e-3 if FORMS[form].dtype == torch.float32 else 0.5  # of other weights it would be 1.4
        for ours, theirs in zip(other, eager, strict=True):
            assert ours.requires_grad == TASKS[task].training
            assert ((ours.float() - theirs).norm() / theirs.norm()).item() < tolerance

    @pytest.mark.parametrize('name', ['pytorchcv-fishnet99', 'resnet50', 'resnext50'])
    def test_peers_do_the_same_work(self, name):
        """Four levels at the strides of a detector, BN fixed where it is to be, features that do not explode."""
        net = build(Contender(name, 'eager'), TASKS['fixed'], 'cpu')
        levels = net(torch.randn(2, 3, 96, 64))
        assert [level.shape[2:] for level in levels] == [(24, 16), (12, 8), (6, 4), (3, 2)]
        assert all(level.isfinite().all() and level.abs().max() < 1e4 for level in levels)
        norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
        assert norms and not any(m.training for m in norms)
        trained = {id(p) for p in net.parameters() if p.requires_grad}
        assert trained and not any(id(p) in trained for m in norms for p in m.parameters())
        live = build(Contender(name, 'eager'), TASKS['live'], 'cpu')
        assert all(m.training for m in live.modules() if isinstance(m, nn.BatchNorm2d))

    def test_the_peer_is_the_same_network(self):
        shapes = [
            [level.shape for level in build(Contender(n, 'eager'), TASKS['inference'], 'cpu')(torch.rand(1, 3, 64, 64))]
            for n in ('fishnet99', 'pytorchcv-fishnet99')
        ]
        assert shapes[0] == shapes[1]
        assert gmacs('fishnet99', 64) == pytest.approx(gmacs('pytorchcv-fishnet99', 64))
        assert gmacs('fishnet99', 128) == pytest.approx(4 * gmacs('fishnet99', 64), rel=1e-3)

    def test_whom_ratios_are_against(self):
        peer, eager, lean, other = read_contenders(
            ['pytorchcv-fishnet150', 'fishnet150:eager,with_cp=stage', 'resnet50']
        )
        assert baseline(lean, [eager, peer, lean]) == peer
        assert baseline(lean, [eager, lean]) == eager
        assert baseline(other, [other, eager]) == eager
        assert baseline(other, [other]) == other

    def test_without_pytorchcv_the_others_run(self, monkeypatch):
        monkeypatch.setattr(who, 'find_spec', lambda name: None)
        here, lines = installed(read_contenders(QUICK))
        assert here and not any('pytorchcv' in c.network for c in here)
        assert len(lines) == 1 and 'pip install pytorchcv' in lines[0] and 'our eager' in lines[0]

    @pytest.mark.parametrize(
        'text, named',
        [
            ('fishnet15', 'fishnet150'),
            ('fishnet150:slow', 'channels_last'),
            ('resnet50:with_cp=norm', 'fishnet201'),
            ('fishnet150:bfloat16+with_cp=norm', 'inference'),
        ],
    )
    def test_what_is_not_known_lists_what_is(self, text, named):
        with pytest.raises(BenchmarkError, match=f'{text.partition(":")[0]}.*{named}'):
            read_contenders([text])


def test_the_machine_has_no_name():
    import platform
    import socket

    facts = describe('cpu')
    assert facts['torch'] == torch.__version__ and facts['cpu'] and facts['threads'] >= 1
    assert not {socket.gethostname(), platform.node()} & {str(value) for value in facts.values()}


def test_peaks_of_both_dtypes():
    peaks = measure_peaks('cpu', quick=True)
    assert len(peaks) == 2 * 2 * 2 + 2
    for dtype in (torch.float32, torch.bfloat16):
        assert highest(peaks, dtype).gflops == max(p.gflops for p in peaks if p.dtype in str(dtype)) > 0


@pytest.mark.parametrize(
    'arguments, named',
    [
        (dict(tasks=('sleep',)), 'inference, fixed, live'),
        (dict(sides=(100,)), '100: must be a multiple of 32'),
        (dict(batches=(0,)), 'at least 1'),
        (dict(device='tpu'), 'cpu or cuda'),
        (dict(budget=Budget(rounds=0)), '--rounds 0'),
        (dict(contenders=(Contender('fishnet99', 'with_cp=norm'),)), '--tasks inference: none'),
    ],
)
def test_a_plan_that_cannot_be(arguments, named):
    with pytest.raises(BenchmarkError, match=named):
        BenchmarkPlan(**dict(contenders=(Contender('fishnet99', 'eager'),)) | arguments)


def test_no_gpu_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(BenchmarkError, match='--device cpu'):
        BenchmarkPlan(contenders=(Contender('fishnet99', 'eager'),), device='cuda')


def test_points_are_all_sizes_and_all_batches():
    plan = BenchmarkPlan(contenders=(Contender('fishnet99', 'eager'),), sides=(64, 96), batches=(1, 2, 4))
    assert plan.points(TASKS['inference']) == [(1, 64), (1, 96), (2, 64), (4, 64)]
    assert replace(plan, sides=(), batches=()).points(TASKS['inference']) == [(1, 448)]


class TestTool:
    @pytest.mark.parametrize('detectors', [(), pytest.param(tuple(DETECTORS), marks=pytest.mark.long)])
    def test_a_quick_run(self, call_tool, tmp_path, detectors):
        flags = ['--quick', '--tasks', 'inference', 'fixed', '--sizes', 64, 96]
        flags += ['--batches', 1, '--rounds', 2, '--seconds', 0, '--device', 'cpu', '--tf32', 'off']
        flags += ['--threads', torch.get_num_threads()]
        flags += ['--detector'] if detectors else []
        done = call_tool('tools/benchmark.py', *flags, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
        out = tmp_path / 'work_dirs' / 'benchmark_quick'
        record = json.loads((out / 'benchmark.json').read_text())
        rows = record['measurements']
        able = {task: [c for c in read_contenders(QUICK) if task in c.made.tasks] for task in ('inference', 'fixed')}
        expected = [(TASKS[task].title, side, str(c)) for task in able for side in (64, 96) for c in able[task]]
        expected += [('Mask R-CNN iteration', 96, name) for name in detectors]
        assert [(row['task'], row['height'], row['contender']) for row in rows] == expected
        for row in rows:
            times = row['ms'].values()
            needed = [*times, row['images_per_s'], row['peak_mb'], row['faster'], row['memory']]
            needed += [] if row['task'] == 'inference' else [row['kept_mb'], row['graph_mb']]
            needed += [] if 'R-CNN' in row['task'] else [row['gmacs'], row['gflops'], row['share']]
            assert all(math.isfinite(value) and value > 0 for value in needed), row
            assert row['rounds'] == 2
        peers = [row for row in rows if row['contender'] == 'pytorchcv-fishnet99:eager']
        assert peers and all(row['faster'] == row['memory'] == 1 for row in peers)
        lean = [r for r in rows if r['contender'] == 'fishnet99:with_cp=stage']
        assert lean and all(row['memory'] < 0.3 for row in lean)

        markdown = (out / 'benchmark.md').read_text()
        for row in rows:
            assert row['contender'] in markdown and row['contender'] in done.stdout
        picture = imread(out / 'benchmark.png')
        assert picture.shape[0] > 500 and picture.std() > 0.05
        assert str(REPO) not in json.dumps(record) + markdown

    @pytest.mark.parametrize(
        'flags, named',
        [
            (['--contenders', 'resnet18'], 'resnext50'),
            (['--tasks', 'sleep'], 'inference, fixed, live'),
            (['--seconds', -1], '--seconds -1: must be at least 0'),
            (['--rounds', 0], '--rounds 0: must be at least 1'),
            (['--detector', '--detector-size', 8, 8], 'at least 64'),
        ],
    )
    def test_bad_input_is_refused_before_any_work(self, flags, named, call_tool):
        done = call_tool('tools/benchmark.py', *flags)
        assert done.returncode == 1 and re.match(f'error: .*{named}', done.stderr) and done.stderr.count('\n') == 1
