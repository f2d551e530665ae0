"""The log of a run out of the files of its starts."""

import json
import math
import re

import pytest
from run_folders import epochs, start, training, validation

from fishnet_mmdet.runs.log import read_log
from fishnet_mmdet.runs.run import RunsError, read_runs


def steps(log):
    return [row['step'] for row in log.training]


class TestJoin:
    def test_an_iteration_that_was_run_again_counts_once_and_the_later_one(self, tmp_path):
        lines = epochs(1, 2) + [training(s, loss=9.0) for s in (45, 50, 55)]
        start(tmp_path, lines, '20260101_000000')
        start(tmp_path, [training(s, loss=1.0) for s in range(45, 61, 5)] + [validation(3, 0.3)], '20260102_000000')
        log = read_log(tmp_path)
        assert steps(log) == list(range(5, 61, 5))
        assert log.curve('loss')[1][-4:] == [1.0] * 4
        assert [v.epoch for v in log.validations] == [1, 2, 3]
        assert [(s.folder.name, s.first, s.repeats) for s in log.starts] == [
            ('20260101_000000', 5, False), ('20260102_000000', 45, True),
        ]  # fmt: skip

    def test_two_starts_within_one_second_share_a_file(self, tmp_path):
        again = [training(s, loss=1.0) for s in range(45, 61, 5)]
        killed = epochs(1, 2) + [training(s, loss=9.0) for s in (45, 50)]
        for name, first in (('iteration', []), ('validation', [validation(2, 0.7)])):
            start(tmp_path / name, killed + first + again)
            log = read_log(tmp_path / name)
            assert steps(log) == list(range(5, 61, 5)) and log.curve('loss')[1][-4:] == [1.0] * 4
            assert [(s.first, s.repeats) for s in log.starts] == [(5, False), (45, True)]
            assert [(v.epoch, v.iteration) for v in log.validations] == [(1, 20), (2, 40)]

    def test_a_validation_that_was_run_again_counts_once_and_the_later_one(self, tmp_path):
        start(tmp_path, epochs(1, 3), '20260101_000000')
        start(tmp_path, [*(training(s) for s in range(45, 61, 5)), validation(3, 0.9)], '20260102_000000')
        assert [v.figures['coco/bbox_mAP'] for v in read_log(tmp_path).validations][-1] == 0.9

    def test_a_validation_before_the_first_iteration_of_a_resume(self, tmp_path):
        """Our loop repeats the one that was interrupted."""
        start(tmp_path, epochs(1, 2)[:-1], '20260101_000000')
        start(tmp_path, [validation(2, 0.7), *(training(s) for s in range(45, 61, 5))], '20260102_000000')
        assert [(v.epoch, v.iteration) for v in read_log(tmp_path).validations] == [(1, 20), (2, 40)]

    def test_a_start_alone_that_begins_with_the_validation_of_the_epoch_before(self, tmp_path):
        """The lines before it are lost, or the folder of one start was named."""
        for owed in (validation(2, 0.3), validation(40, 0.3)):
            log = read_log(start(tmp_path / str(owed['step']), [owed, *epochs(3, 4)]))
            assert [v.epoch for v in log.validations] == [2, 3, 4]

    def test_a_start_that_only_validated(self, tmp_path):
        start(tmp_path, epochs(1, 2), '20260101_000000')
        start(tmp_path, [validation(0, 0.99)], '20260102_000000')
        assert [v.epoch for v in read_log(tmp_path).validations] == [1, 2]

    def test_a_later_start_from_the_beginning_replaces_the_earlier_one(self, tmp_path):
        start(tmp_path, epochs(1, 4), '20260101_000000')
        start(tmp_path, epochs(1, 1), '20260102_000000')
        log = read_log(tmp_path)
        assert steps(log) == [5, 10, 15, 20] and [v.epoch for v in log.validations] == [1]
        assert steps(read_log(tmp_path / '20260101_000000'))[-1] == 80

    def test_the_iterations_of_an_epoch_and_the_seconds_of_training(self, tmp_path):
        log = read_log(start(tmp_path, epochs(1, 3)))
        assert log.epoch_length == 20
        assert log.seconds()[-1] == pytest.approx(60 * 0.25)
        assert read_log(start(tmp_path / 'one', epochs(1, 1))).epoch_length is None

    def test_seconds_of_lines_that_are_lost_are_not_made_up(self, tmp_path):
        log = read_log(start(tmp_path, [training(s) for s in range(1005, 1021, 5)]))
        assert log.seconds()[-1] == pytest.approx(25 * 0.25)


class TestOddFiles:
    def test_a_line_that_was_cut_off(self, tmp_path):
        log = read_log(start(tmp_path, epochs(1, 1), tail='{"lr": 0.02, "loss": 1.5, "ti'))
        assert steps(log) == [5, 10, 15, 20] and log.incomplete == 1

    def test_text_null_lists_and_other_things_in_lines(self, tmp_path):
        tail = '[1, 2]\n"x"\nnull\n\n{"loss": 1}\n' + json.dumps(training(25, loss='x', note=None)) + '\n'
        log = read_log(start(tmp_path, epochs(1, 1), tail=tail))
        assert steps(log) == [5, 10, 15, 20, 25] and log.incomplete == 4
        assert log.curve('loss')[0] == [5, 10, 15, 20]

    @pytest.mark.parametrize('line', ['{"step": 1e999, "lr": 1}', '{"step": 25, "lr": 1, "epoch": NaN}', '[' * 200_000])
    def test_numbers_and_nestings_that_no_run_writes(self, tmp_path, line):
        log = read_log(start(tmp_path, epochs(1, 1), tail=line + '\n'))
        assert steps(log) == [5, 10, 15, 20] and log.incomplete == 1

    def test_nan(self, tmp_path):
        log = read_log(start(tmp_path, [training(5, loss=math.nan, time=math.nan), training(10)]))
        assert math.isnan(log.training[0]['loss']) and log.seconds()[-1] == pytest.approx(5 * 0.25)

    def test_keys_with_their_mode(self, tmp_path):
        """LogProcessor(log_with_hierarchy=True)."""
        line = {f'train/{k}' if k in ('lr', 'loss', 'time') else k: v for k, v in training(5).items()}
        log = read_log(start(tmp_path, [line, {'val/coco/bbox_mAP': 0.25, 'step': 1}]))
        assert log.curve('loss')[0] == [5] and log.validations[0].figures == {'coco/bbox_mAP': 0.25}

    def test_a_run_by_iterations(self, tmp_path):
        """Its validations are logged by iteration, or, by the default of MMEngine's hook, at epoch 0."""
        lines = [training(s, epoch=None) for s in (5, 10)] + [{'mIoU': 30.0, 'step': 0}]
        lines += [training(s, epoch=None) for s in (15, 20)] + [{'mIoU': 40.0, 'step': 20}]
        config = "train_cfg = dict(max_iters=40, type='IterBasedTrainLoop')"
        (run,) = read_runs([start(tmp_path, lines, config=config)])
        assert [(v.iteration, v.epoch) for v in run.log.validations] == [(10, None), (20, None)]
        assert run.progress == '20 of 40 iterations' and run.unfinished

    def test_validations_logged_by_iteration_in_a_run_by_epochs(self, tmp_path):
        log = read_log(start(tmp_path, [*epochs(1, 1)[:-1], validation(20, 0.5)]))
        assert [v.epoch for v in log.validations] == [1]


class TestFolders:
    def test_an_empty_one(self, tmp_path):
        with pytest.raises(RunsError, match=f'{tmp_path} has no TIMESTAMP/vis_data/scalars.json: .*LocalVisBackend'):
            read_runs([tmp_path])

    def test_one_of_several_runs(self, tmp_path):
        start(tmp_path / 'a', epochs(1, 1))
        with pytest.raises(RunsError, match=f'runs below it: {tmp_path}/a$'):
            read_runs([tmp_path])

    def test_one_that_does_not_exist(self, tmp_path):
        with pytest.raises(RunsError, match='nowhere: no such folder; give the work dir of a run'):
            read_runs([tmp_path / 'nowhere'])

    def test_before_the_first_logged_iteration(self, tmp_path):
        with pytest.raises(RunsError, match=r'scalars.json has no logged iteration yet: wait'):
            read_runs([start(tmp_path, [])])

    def test_among_others_it_is_passed_over(self, tmp_path, capsys):
        folders = [start(tmp_path / name, epochs(1, 1) if name != 'died' else []) for name in ('one', 'died', 'other')]
        assert [run.name for run in read_runs(folders)] == ['one', 'other']
        assert re.match(r'passed over: .*died.*no logged iteration yet', capsys.readouterr().err)

    def test_names(self, tmp_path):
        names = ('mask_rcnn_fishnet_1x', 'mask_rcnn_r50_1x', 'mask_rcnn_r50_gn_1x')
        folders = [start(tmp_path / name, epochs(1, 1)) for name in names]
        assert [run.name for run in read_runs(folders)] == ['fishnet', 'r50', 'r50_gn']
        assert [run.name for run in read_runs(folders[:1])] == ['mask_rcnn_fishnet_1x']
        assert [run.name for run in read_runs(folders[:2], ['A', 'B'])] == ['A', 'B']
        same = [start(tmp_path / x / 'run', epochs(1, 1)) for x in ('x1', 'y1')]
        assert [run.name for run in read_runs(same)] == ['x1/run', 'y1/run']
        with pytest.raises(RunsError, match='--names A A: give 2 different names'):
            read_runs(folders[:2], ['A', 'A'])
        with pytest.raises(RunsError, match='is given twice'):
            read_runs([folders[0], folders[0]])


@pytest.mark.parametrize('stock', [False, True], ids=['our loops', 'stock MMEngine'])
def test_a_real_run_that_was_killed_and_resumed_is_the_one_that_was_not(forker, tmp_path, stock):
    """With a real SIGKILL. Stock MMEngine resumes too, but with other random numbers."""
    job = dict(seed=5, epochs=4, workers=0, ema=False, log_interval=2)
    assert forker.run(work_dir=str(tmp_path / 'whole'), stock=stock, **job) == [0]
    assert forker.run(work_dir=str(tmp_path / 'parts'), mischief=dict(die_at=30), **job) == [-9]
    assert forker.run(work_dir=str(tmp_path / 'parts'), stock=stock, resume=True, **job) == [0]
    whole, parts = read_runs([tmp_path / 'whole', tmp_path / 'parts'])
    assert len(parts.log.starts) == 2 and parts.log.starts[1].repeats and not parts.unfinished
    assert parts.log.epoch_length == whole.log.epoch_length == 12
    for key in ('lr', 'loss') if not stock else ('lr',):
        assert parts.log.curve(key) == whole.log.curve(key)
    assert [v.epoch for v in parts.log.validations] == [v.epoch for v in whole.log.validations] == [1, 2, 3, 4]
    assert parts.settings['model']['type'] == 'TinyModel'
