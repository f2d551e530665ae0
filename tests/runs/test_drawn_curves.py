"""Curves that lie on each other, and classes by the thousand: what is drawn of them."""

import math
import re

import pytest
from run_folders import CONFIG, epochs, start, training, validation

from fishnet_mmdet.runs.class_drawing import draw_classes
from fishnet_mmdet.runs.classes import classes, spread
from fishnet_mmdet.runs.coinciding import coinciding, note
from fishnet_mmdet.runs.comparison import compare
from fishnet_mmdet.runs.drawing import draw_panel
from fishnet_mmdet.runs.panels import Line, Panel, panels
from fishnet_mmdet.runs.run import read_runs


def panel(*lines, log=False):
    """Lines given as (group, y)."""
    made, seen = [], set()
    for n, (group, y) in enumerate(lines):
        label = '' if group in seen else f'g{group}'
        seen.add(group)
        made.append(Line(f'r{n}', group, n, label, [float(x) for x in range(len(y))], y))
    return Panel('p', 'Training', 'p', 'epoch', tuple(made), log)


def sets_and_note(drawn):
    sets = coinciding(drawn)
    return [[line.name for line in found] for found in sets], note(drawn, sets)


class TestCoinciding:
    @pytest.mark.parametrize(
        'lines, sets, text',
        [
            ([(0, [0, 1, 2]), (1, [0, 1, 2.1])], [['r0'], ['r1']], ''),
            ([(0, [0, 1, 2]), (1, [0, 1, 2.005])], [['r0', 'r1']], 'both runs coincide'),
            ([(0, [0, 1]), (0, [0, 1]), (1, [0, 1])], [['r0', 'r1', 'r2']], 'all 3 runs coincide'),
            (
                [(0, [0, 1]), (0, [0, 1]), (1, [0, 9]), (1, [0, 9])],
                [['r0', 'r1'], ['r2', 'r3']],
                'coincide: 2 runs of g0; 2 runs of g1',
            ),
            ([(0, [0, 1]), (0, [0, 5]), (1, [0, 1])], [['r0', 'r2'], ['r1']], 'coincide: 2 runs of g0 and g1'),
            # A run that goes on lies on a part of a longer one; the beginning alone says nothing.
            ([(0, [0, 1, 2, 3]), (1, [0, 1, 2])], [['r0', 'r1']], 'both runs coincide'),
            ([(0, [0, 1, 2, 3]), (1, [0, 1])], [['r0'], ['r1']], ''),
            ([(0, [5.0]), (1, [5.0])], [['r0', 'r1']], 'both runs coincide'),
        ],
    )
    def test_sets(self, lines, sets, text):
        assert sets_and_note(panel(*lines)) == (sets, text)

    def test_on_a_logarithmic_axis_small_values_count_too(self):
        lines = [(0, [1.0, 0.1, 0.01]), (1, [1.0, 0.1, 0.0105])]
        assert sets_and_note(panel(*lines, log=True))[0] == [['r0'], ['r1']]
        assert sets_and_note(panel(*lines))[0] == [['r0', 'r1']]

    def test_many_sets_are_counted(self):
        lines = [(n // 2, [0.0, n // 2]) for n in range(20)]
        assert sets_and_note(panel(*lines))[1] == '20 of 20 runs coincide in 10 curves'

    def test_groups_share_a_line_in_stripes(self):
        svg = draw_panel(panel((0, [0, 1, 2]), (1, [0, 1, 2])))[0]
        dashes = re.findall(r'stroke-dasharray: ([\d.]+),([\d.]+); stroke-dashoffset: ([\d.]+)', svg)
        (on, off, _), other = [tuple(map(float, found)) for found in dashes]
        # Where one has a gap, the other has its stripe.
        assert on == off and other == (on, off, on) and 'both runs coincide' in svg
        alone = draw_panel(panel((0, [0, 1, 2]), (1, [0, 2, 4])))[0]
        assert 'coincide' not in alone


@pytest.fixture
def given(tmp_path):
    def make(**runs):
        folders = [start(tmp_path / name, lines, config=config) for name, (lines, config) in runs.items()]
        return compare(read_runs(folders, list(runs)))

    return make


def test_a_norm_that_is_logged_in_the_first_epochs_only_says_so(given):
    """FishNet's recipe clips in the first two epochs."""
    lines = [
        line if line['step'] <= 40 else {k: v for k, v in line.items() if k != 'grad_norm'} for line in epochs(1, 4)
    ]
    found = {p.slug: p for p in panels(given(r=(lines, CONFIG)))}
    assert found['grad_norm'].note == 'logged only while gradients are clipped'
    assert found['grad_norm'].x_end == found['loss'].x_end == 4
    assert found['grad_norm'].lines[0].x[-1] == 2
    assert [p.note for p in panels(given(s=(epochs(1, 4), CONFIG))) if p.slug == 'grad_norm'] == ['']


MANY = 1203


def of_classes(values):
    figures = {f'coco/class {n}_precision': value for n, value in enumerate(values)}
    return [training(5), validation(1, 0.2, **figures)]


class TestManyClasses:
    def one(self, given, count=MANY):
        values = [n / count if n % 10 else math.nan for n in range(count)]
        return given(r=(of_classes(values), CONFIG))

    def test_of_one_run_the_best_and_the_worst(self, given):
        c = self.one(given)
        (table,) = classes(c)
        shown = [table.names[i] for i in table.shown]
        assert shown == [f'class {n}' for n in [*range(1202, 1180, -1), *range(22, 0, -1)] if n % 10]
        assert table.selection == 'the best and the worst; 1,163 of 1,203 classes are left out'
        svg = draw_classes(table)[0]
        assert table.selection in svg and 'classes between' in svg and 'class 600' not in svg

    def test_how_many_are_above_an_ap(self, given):
        c = self.one(given)
        (table,) = classes(c)
        drawn = spread(table, c)
        (line,) = drawn.lines
        assert drawn.title == 'classes above each AP, of 1,203' and drawn.section == 'Classes'
        with_objects = [n for n in range(MANY) if n % 10]
        assert dict(zip(line.x, line.y, strict=True))[50] == sum(n / MANY > 0.5 for n in with_objects)
        assert line.y[0] == len(with_objects) and line.y[-1] == 0

    def test_of_several_groups_the_largest_differences_of_their_means(self, given):
        values = [0.5] * MANY
        noisy, better = list(values), list(values)
        noisy[3] = 0.1  # One seed of two is off by 40, the mean by 20.
        better[7] = 0.8  # Both are off by 30.
        runs = {f'a{n}': (of_classes(v), CONFIG.replace('seed=0', f'seed={n}')) for n, v in enumerate((values, noisy))}
        for n in (0, 1):
            runs[f'b{n}'] = (of_classes(better), CONFIG.replace('=50', '=18').replace('seed=0', f'seed={n}'))
        (table,) = classes(given(**runs))
        assert table.names[:2] == ('class 7', 'class 3') and len(table.shown) == 40
        assert table.selection.startswith('largest differences; 1,163 of')

    def test_up_to_a_hundred_all(self, given):
        (table,) = classes(self.one(given, 100))
        assert table.left_out == 0 and 'left out' not in (svg := draw_classes(table)[0])
        assert svg.count('no objects') == 10
