"""Which run is better: the answer, what it is based on, and what it must not claim."""

import pytest
from run_folders import CONFIG, OTHER, epochs, seed, start, training, validation

from fishnet_mmdet.runs.comparison import compare
from fishnet_mmdet.runs.metrics import class_figures, describe, main_metrics
from fishnet_mmdet.runs.run import RunsError, read_runs
from fishnet_mmdet.runs.verdict import duration, judge


@pytest.fixture
def given(tmp_path):
    """Writes runs, given as name=(lines, config); returns their comparison."""

    def make(metric=None, grouped=True, **runs):
        folders = [start(tmp_path / name, lines, config=config) for name, (lines, config) in runs.items()]
        return compare(read_runs(folders, list(runs)), metric, grouped)

    return make


class TestAnswer:
    def test_two_runs_of_one_seed(self, given):
        verdict = judge(given(fish=(epochs(1, 4, 0.4), OTHER), r50=(epochs(1, 4, 0.3), CONFIG)))
        assert verdict.answer == 'fish is better than r50: by 9.8 bbox AP (39.3 against 29.5), with one seed each.'
        assert [(s.value, s.where) for s in verdict.standings] == [
            (
                value,
                'epoch 4 of 4, after 20 s of training; best at the last epoch, still improving (by '
                f'{gain}): a longer run may gain',
            )
            for value, gain in (('39.3', '1.3'), ('29.5', '0.9'))
        ]
        assert 'the difference may be chance' in verdict.details[0]
        assert verdict.details[1] == (
            'fish and r50 differ in backbone (FishNet, ResNet) with arch (fishnet99, not set), depth (not set, 50) and '
            'frozen_stages (not set, 1).'
        )

    def test_the_best_validation_is_not_always_the_last(self, given):
        lines = [*epochs(1, 2, 0.3), *(training(s) for s in range(45, 61, 5)), validation(3, 0.1)]
        verdict = judge(given(run=(lines, CONFIG)))
        assert verdict.answer == 'So far, run reaches 25.9 bbox AP at epoch 2.'
        assert '; 10.0 at epoch 3, the last; the run is at 3 of 4 epochs' in verdict.standings[0].where

    def test_a_run_that_was_best_at_its_end_may_gain(self, given):
        def where(*values):
            """Of a run with these figures; None stands for a validation that still runs."""
            lines = []
            for epoch, ap in enumerate(values, start=1):
                lines += epochs(epoch, epoch)[:-1] + ([validation(epoch, ap)] if ap is not None else [])
            made.append(f'run{len(made)}')
            return judge(given(**{made[-1]: (lines, CONFIG)})).standings[0].where

        made = []
        assert 'still improving (by 2.0): a longer run may gain' in where(0.1, 0.2, 0.15, 0.22)
        # Not the last one, no better than an earlier one, one validation only, and while the last one still runs.
        for values in (
            (0.1, 0.2, 0.3, 0.2),
            (0.1, 0.2, 0.1, 0.2),
            (0.1, 0.2, 0.1, 0.2004),
            (0.1,),
            (0.1, 0.2, 0.3),
            (0.1, 0.2, 0.3, None),
        ):
            assert 'gain' not in where(*values)

    def test_a_run_whose_last_validation_is_to_come_goes_on(self, given):
        verdict = judge(given(run=(epochs(1, 4)[:-1], CONFIG)))
        assert verdict.answer.startswith('So far, run reaches')
        assert verdict.standings[0].where.endswith('the run is at 3 of 4 epochs')

    def test_seeds_that_were_best_at_their_end(self, given):
        falling = [*epochs(1, 3), *epochs(4, 4)[:-1], validation(4, 0.1)]
        c = given(r_0=(epochs(1, 4), seed(0)), r_1=(falling, seed(1)), r_2=(epochs(1, 4), seed(2)))
        assert (
            judge(c)
            .standings[0]
            .where.endswith(
                '; 2 of 3 were best at the last epoch, still improving (by up to 1.3): longer runs may gain'
            )
        )

    def test_a_slower_run_may_be_behind_after_the_same_time(self, given):
        slow = [line | {'time': 1.0} if 'iter' in line else line for line in epochs(1, 4, 0.4)]
        verdict = judge(given(a=(slow, OTHER), b=(epochs(1, 4, 0.3), CONFIG)))
        assert verdict.answer.endswith('with one seed each. After the same training time b is ahead.')
        assert 'After the same training time, 20 s on the machines as they were: a 25.3, b 29.5.' in verdict.details

    def test_seeds_that_do_not_overlap(self, given):
        c = given(
            fish_0=(epochs(1, 4, 0.40), seed(0, OTHER)),
            fish_1=(epochs(1, 4, 0.42), seed(1, OTHER)),
            r50_0=(epochs(1, 4, 0.30), seed(0)),
            r50_1=(epochs(1, 4, 0.31), seed(1)),
        )
        verdict = judge(c)
        assert verdict.answer == 'fish is better than r50: by 10.3 bbox AP (40.2 against 29.9), with 2 seeds each.'
        assert verdict.standings[0].where.startswith('mean of 2 runs, 39.3 to 41.2, at epoch 4; after 20 s')
        assert 'Every run of fish is better than every run of r50; 4 runs in all are few.' in verdict.details

    def test_one_seed_twice_is_not_two_seeds(self, given):
        same = {name: (epochs(1, 4, 0.40), seed(3, OTHER)) for name in ('fish_a', 'fish_b')}
        verdict = judge(given(**same, r50=(epochs(1, 4, 0.30), seed(3))))
        assert verdict.answer.endswith('with 2 and 1 runs.')
        assert 'has several runs of the seed 3. Such runs say nothing about chance' in ' '.join(verdict.details)

    def test_seeds_that_overlap_decide_nothing(self, given):
        c = given(
            fish_0=(epochs(1, 4, 0.29), seed(0, OTHER)),
            fish_1=(epochs(1, 4, 0.42), seed(1, OTHER)),
            r50=(epochs(1, 4, 0.30), CONFIG),
        )
        answer = judge(c).answer
        assert answer.startswith('Not decided: fish is ahead of r50 by 5.4 bbox AP on average')
        assert answer.endswith('their seeds overlap.')

    def test_runs_of_one_config(self, given):
        runs = dict(a=(epochs(1, 4, 0.4), seed(0)), b=(epochs(1, 4, 0.3), seed(1)))
        assert 'reach 29.5 to 39.3 bbox AP, 34.4 on average' in judge(given(**runs)).answer

    def test_without_groups(self, given):
        runs = dict(a=(epochs(1, 4, 0.4), seed(0)), b=(epochs(1, 4, 0.3), seed(1)))
        assert judge(given(grouped=False, **runs)).answer.startswith('a is better than b: by 9.8')

    def test_a_run_that_goes_on_is_compared_at_the_epoch_that_both_have_reached(self, given):
        """The longer one has the better best figure, and is behind at the same epoch."""
        verdict = judge(given(slow=(epochs(1, 4, 0.3), CONFIG), quick=(epochs(1, 1, 0.4), OTHER)))
        assert verdict.answer == (
            'So far, up to epoch 1 that all have reached, quick is better than slow: by 6.3 bbox AP '
            '(25.3 against 19.0), with one seed each.'
        )
        assert verdict.standings[0].where.endswith('the run is at 1 of 4 epochs')
        assert verdict.standings[1].value == '29.5'

    def test_runs_of_different_length_and_time(self, given):
        short = CONFIG.replace('max_epochs=4', 'max_epochs=2')
        details = judge(given(a=(epochs(1, 4, 0.4), OTHER), b=(epochs(1, 2, 0.3), short))).details
        assert 'Up to epoch 2, which all have reached: a 34.6, b 25.9.' in details
        assert 'After the same training time, 10 s on the machines as they were: a 34.6, b 25.9.' in details

    def test_other_validation_data(self, given):
        other = OTHER.replace('annotations/val.json', 'annotations/minival.json')
        verdict = judge(given(a=(epochs(1, 4, 0.4), other), b=(epochs(1, 4, 0.3), CONFIG)))
        assert verdict.answer.startswith('Not comparable: a and b were validated on different data')
        assert "ann_file: 'annotations/minival.json', 'annotations/val.json'" in verdict.details[0]

    def test_the_same_names_in_another_folder_may_be_the_same_data(self, given):
        other = OTHER.replace('data/coco/', '/mnt/coco/')
        verdict = judge(given(a=(epochs(1, 4, 0.4), other), b=(epochs(1, 4, 0.3), CONFIG)))
        assert verdict.answer.startswith('a is better than b')
        assert 'Make sure that these are the same images' in verdict.details[0]

    def test_equal(self, given):
        verdict = judge(given(a=(epochs(1, 4), OTHER), b=(epochs(1, 4), CONFIG)))
        assert verdict.answer == 'a and b are equal: 39.3 bbox AP, with one seed each.'

    def test_three(self, given):
        runs = {
            name: (epochs(1, 4, ap), CONFIG.replace('50', name[1:]))
            for name, ap in dict(r1=0.3, r2=0.4, r3=0.2).items()
        }
        assert judge(given(**runs)).answer.startswith('r2 is the best, r1 second: by 9.8 bbox AP')

    def test_never_validated(self, given):
        verdict = judge(given(run=([training(5), training(10)], CONFIG)))
        assert verdict.answer == 'run has not validated yet.'
        assert verdict.standings[0].where == '0 of 4 epochs, loss 1.5 at iteration 10'

    def test_one_of_two_never_validated(self, given):
        verdict = judge(given(a=(epochs(1, 4), OTHER), b=([training(5)], CONFIG)))
        assert verdict.answer == 'a reaches 39.3 bbox AP at epoch 4; b: no bbox AP yet.'


class TestMetric:
    def test_masks_are_looked_at_first_if_there_are_any(self, given):
        lines = [training(5), validation(1, 0.3, **{'coco/segm_mAP': 0.2})]
        assert given(run=(lines, CONFIG)).metric.title == 'segm AP'
        assert given(metric='bbox_mAP', run2=(lines, CONFIG)).metric.title == 'bbox AP'
        with pytest.raises(RunsError, match='--metric mAP: no run has logged it; logged are coco/bbox_mAP, '):
            given(metric='mAP', run3=(lines, CONFIG))

    @pytest.mark.parametrize(
        'key, title, logged, shown',
        [
            ('coco/bbox_mAP', 'bbox AP', 0.413, 41.3),
            ('coco/segm_mAP_s', 'segm AP_S', -1.0, None),
            ('teacher/coco/bbox_mAP_50', 'teacher: bbox AP50', 0.5, 50),
            ('coco/cat_precision', 'AP of cat', float('nan'), None),
            ('coco/segm_traffic light_precision', 'segm AP of traffic light', 0.25, 25),
            ('accuracy/top1', 'top-1 accuracy', 77.4, 77.4),
            ('mIoU', 'mIoU', 40.2, 40.2),
            ('coco_panoptic/PQ_th', 'PQ of things', 41.0, 41.0),
            ('pascal_voc/AP50', 'AP50', 0.8, 80),
            ('my/score', 'my: score', -3.5, -3.5),
        ],
    )
    def test_names_and_units(self, key, title, logged, shown):
        metric = describe(key)
        assert metric.title == title and metric.shown(logged) == pytest.approx(shown)

    def test_times_are_not_figures_and_a_falling_one_is_the_last_resort(self):
        assert describe('data_time') is None
        assert [m.key for m in main_metrics(['loss', 'my_score', 'time'])] == ['my_score', 'loss']
        assert not describe('val_loss').rises

    def test_classes(self):
        keys = ['coco/a_precision', 'coco/bbox_a_precision', 'coco/segm_a_precision']
        assert class_figures(keys) == {'bbox': {'a': keys[1]}, 'segm': {'a': keys[2]}}
        assert class_figures(keys[:1]) == {'': {'a': keys[0]}}


class TestGroups:
    def test_seeds_that_all_groups_have_are_no_difference(self, given):
        runs = {
            f'{k}_{n}': (epochs(1, 1), seed(n, config)) for k, config in (('r', CONFIG), ('f', OTHER)) for n in (0, 1)
        }
        c = given(**runs)
        assert 'randomness.seed' not in {d.key for d in c.differences} and 'seed' not in judge(c).details[1]
        assert len(c.differences[0].values) == len(c.groups) == 2
        del runs['f_1']
        assert {d.key: d.texts() for d in given(**{f'{k}_': v for k, v in runs.items()}).differences}[
            'randomness.seed'
        ] == ['[0, 1]', '0']

    def test_groups_with_names_of_their_own(self, given):
        runs = {f'run{n}': (epochs(1, 1), seed(n % 2, CONFIG if n < 2 else OTHER)) for n in range(4)}
        assert [(group.name, len(group.runs)) for group in given(**runs).groups] == [('run0', 2), ('run2', 2)]


@pytest.mark.parametrize(
    'seconds, text', [(0.4, '0 s'), (89, '89 s'), (90, '2 min'), (3599, '1 h 00 min'), (4800, '1 h 20 min')]
)
def test_duration(seconds, text):
    assert duration(seconds) == text
