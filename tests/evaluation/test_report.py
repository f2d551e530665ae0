"""The tables of AP and accuracy: what they hold, how they look, and what a resumed run makes of them."""

import json
import logging
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from fishnet_mmdet.evaluation.accuracy_report import AccuracyReport
from fishnet_mmdet.evaluation.ap_report import APReport
from fishnet_mmdet.evaluation.pixel_reports import MIoUReport, PQReport


def quiet_runner(work_dir, epoch=0):
    return SimpleNamespace(
        work_dir=work_dir, epoch=epoch, iter=0, experiment_name='x', logger=logging.getLogger('quiet'),
        cfg=SimpleNamespace(model=dict(type='MaskRCNN')),
    )  # fmt: skip


def cells(report, rows):
    """The rows of a report as text."""
    table = report.table('T', rows, [])
    return [table.cells(row) for row in table.rows]


class TestTable:
    METRICS = {
        'coco/bbox_mAP': 0.4149, 'coco/bbox_mAP_50': 0.6, 'coco/bbox_mAP_75': 0.45,
        'coco/bbox_mAP_s': -1, 'coco/bbox_mAP_m': 0.449, 'coco/bbox_mAP_l': 0.55,
        'coco/bbox_AR@100': 0.7, 'data_time': 0.1, 'time': 0.2,
    }  # fmt: skip

    def test_percent_with_one_decimal(self):
        (row,) = APReport().measured(self.METRICS, 'epoch 3')
        assert cells(APReport(), [row]) == [['epoch 3', 'bbox', '41.5', '60.0', '45.0', '-', '44.9', '55.0']]

    @pytest.mark.parametrize('detector, count', [('MaskRCNN', 8), ('FasterRCNN', 4), ('RetinaNet', 0)])
    def test_the_papers_rows_say_so(self, detector, count):
        rows = APReport().published(dict(type=detector))
        assert len(rows) == count
        assert all('paper' in row.label and 'not measured here' in row.label for row in rows)

    def test_both_renderings_hold_every_figure(self):
        report = APReport()
        own, paper = report.measured(self.METRICS, 'epoch 3'), report.published(dict(type='FasterRCNN'))
        table = report.table('T', own, paper)
        for text in (table.text(), table.markdown()):
            for cell in ('41.5', '60.0', '40.6', '53.7', 'AP_S', 'FishNet-150'):
                assert cell in text

    def test_accuracy_beside_the_released_files(self):
        report = AccuracyReport()
        (row,) = report.measured({'accuracy/top1': 77.5, 'accuracy/top5': 93.125, 'time': 1}, 'this model')
        assert cells(report, [row]) == [['this model', '', '77.50', '93.12']]
        model = dict(backbone=dict(type='FishNet', arch='fishnet150'))
        rows = cells(report, report.published(model))
        assert [row[2:] for row in rows] == [['78.14', '93.95'], ['79.35', '94.75'], ['-', '95.25']]
        assert all('not measured here' in row[0] for row in rows)
        assert report.published(dict(backbone=dict(type='ResNet', depth=50))) == []
        assert report.measured({'coco/bbox_mAP': 1.0}, 'x') == []

    def test_a_new_run_starts_a_new_table_and_a_resumed_one_keeps_it(self, tmp_path):
        def run(first, last, again=False):
            runner = quiet_runner(tmp_path, first)
            report = APReport()
            report.before_train(runner)
            if again:  # as a resume does, which cannot know that it was over
                report.after_val_epoch(runner, self.METRICS)
            for runner.epoch in range(first + 1, last + 1):
                report.after_val_epoch(runner, self.METRICS)
            return [row['label'] for row in json.loads((tmp_path / 'ap_val.json').read_text())['measured']]

        assert run(0, 3) == ['epoch 1', 'epoch 2', 'epoch 3']
        assert run(2, 4) == ['epoch 1', 'epoch 2', 'epoch 3', 'epoch 4']
        assert run(2, 3, again=True) == ['epoch 1', 'epoch 2', 'epoch 3']
        assert run(0, 1) == ['epoch 1']
        earlier = json.loads((tmp_path / 'ap_val_earlier.json').read_text())['measured']
        assert [row['label'] for row in earlier] == ['epoch 1', 'epoch 2', 'epoch 3']
        (tmp_path / 'ap_val.json').write_text('{"measured": [{')  # cut short by a crash
        assert run(1, 2) == ['epoch 2']

    @pytest.mark.parametrize('stopped', [dict(epoch=0, iter=500), dict(epoch=3, iter=900)])
    def test_a_new_run_that_is_resumed_before_its_first_validation(self, tmp_path, stopped):
        """The table of an earlier run in the same work dir has rows of epochs that this run has not validated."""
        runner = quiet_runner(tmp_path)
        rows = [dict(label=f'epoch {number}', type='bbox', AP=0.5) for number in range(1, 13)]
        (tmp_path / 'ap_val.json').write_text(json.dumps(dict(measured=rows)))
        new = APReport()
        new.before_train(runner)
        assert json.loads((tmp_path / 'ap_val.json').read_text())['measured'] == rows
        vars(runner).update(stopped)
        new.before_save_checkpoint(runner, {})
        report = APReport()
        report.before_train(runner)
        runner.epoch = 4
        report.after_val_epoch(runner, self.METRICS)
        measured = json.loads((tmp_path / 'ap_val.json').read_text())['measured']
        assert [row['label'] for row in measured] == ['epoch 4']
        assert json.loads((tmp_path / 'ap_val_earlier.json').read_text())['measured'] == rows

    def test_a_start_that_saves_nothing_leaves_the_table_to_the_run_before(self, tmp_path):
        """Somebody forgot --resume, and the run died in its first iterations."""
        runner = quiet_runner(tmp_path)
        rows = [dict(label=f'epoch {number}', type='bbox', AP=0.5) for number in range(1, 7)]
        (tmp_path / 'ap_val.json').write_text(json.dumps(dict(measured=rows)))
        APReport().before_train(runner)
        runner.epoch = 6
        report = APReport()
        report.before_train(runner)
        runner.epoch = 7
        report.after_val_epoch(runner, self.METRICS)
        measured = json.loads((tmp_path / 'ap_val.json').read_text())['measured']
        assert [row['label'] for row in measured] == [f'epoch {number}' for number in range(1, 8)]

    def test_a_test_has_a_table_of_its_own(self, tmp_path):
        runner = quiet_runner(tmp_path)
        report = APReport()
        report.before_train(runner)
        runner.epoch = 1
        report.after_val_epoch(runner, self.METRICS)
        for _ in range(2):
            report.after_test_epoch(runner, self.METRICS)
        measured = json.loads((tmp_path / 'ap_test.json').read_text())['measured']
        assert [row['label'] for row in measured] == ['this model']


class TestSeveralEvaluators:
    @pytest.mark.parametrize('names', [('A', 'B'), ('teacher', 'student'), ('day/front', 'day/rear')])
    def test_ap_of_each(self, names):
        metrics = {f'{name}/coco/bbox_mAP': 0.1 + i for i, name in enumerate(names)}
        metrics |= {f'{name}/coco/segm_mAP': 0.5 for name in names}
        rows = APReport().measured(metrics, 'epoch 1')
        assert [(row.label, row.kind, row.figures['AP']) for row in rows] == [
            ('epoch 1', f'bbox, {names[0]}', 0.1), ('epoch 1', f'segm, {names[0]}', 0.5),
            ('epoch 1', f'bbox, {names[1]}', 1.1), ('epoch 1', f'segm, {names[1]}', 0.5),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        'prefixes, kinds',
        [
            (['all/', 'second/'], ['bbox, all', 'bbox, second']),
            (['coco/', 'second/'], ['bbox', 'bbox, second']),
            (['', 'coco/'], ['bbox', 'bbox, coco']),
            (['own/'], ['bbox, own']),
        ],
    )
    def test_prefixes_of_metrics(self, prefixes, kinds):
        metrics = {f'{prefix}bbox_mAP': 0.1 for prefix in prefixes}
        assert [row.kind for row in APReport().measured(metrics, 'epoch 1')] == kinds

    @pytest.mark.parametrize(
        'report, keys, kinds',
        [
            (AccuracyReport(), ['A/accuracy/top1', 'B/accuracy/top1'], ['A', 'B']),
            (MIoUReport(), ['A/mIoU', 'B/mIoU'], ['A', 'B']),
            (PQReport(), ['A/coco_panoptic/PQ', 'A/coco_panoptic/PQ_th', 'B/coco_panoptic/PQ'],
             ['all, A', 'things, A', 'all, B']),
        ],
    )  # fmt: skip
    def test_every_table(self, report, keys, kinds):
        rows = report.measured({key: 50.0 for key in keys}, 'epoch 1')
        assert [row.kind for row in rows] == kinds
        assert all([*row.figures.values()] == [0.5] for row in rows)


class TestOtherRunners:
    def runner(self, work_dir, **kwargs):
        return SimpleNamespace(
            work_dir=work_dir, epoch=1, iter=4, experiment_name='x', logger=logging.getLogger('quiet'), **kwargs
        )

    @pytest.mark.parametrize('cfg', [Config(), Config(dict(model=dict(backbone=dict())))], ids=['none', 'no type'])
    def test_without_a_config(self, tmp_path, cfg):
        """As a runner that is made of objects."""
        for report, key in ((APReport(), 'coco/bbox_mAP'), (AccuracyReport(), 'accuracy/top1')):
            report.before_train(self.runner(tmp_path, cfg=cfg))
            report.after_val_epoch(self.runner(tmp_path, cfg=cfg), {key: 0.5})
            table = json.loads((tmp_path / f'{report.name}_val.json').read_text())
            assert [row['label'] for row in table['measured']] == ['epoch 1'] and table['published'] == []

    def test_config_of_classes(self):
        assert APReport().published(dict(type=type('MaskRCNN', (), {})))
        assert APReport().published(dict(type='mmdet.MaskRCNN'))

    def test_validation_alone_builds_no_training_loop(self, tmp_path):
        class Runner(SimpleNamespace):
            iter = epoch = property(lambda self: pytest.fail('built the training loop'))

        report = APReport()
        report.before_train(self.runner(tmp_path, cfg=Config()))
        report.after_val_epoch(self.runner(tmp_path, cfg=Config()), {'coco/bbox_mAP': 0.5})
        alone = Runner(work_dir=tmp_path, experiment_name='x', logger=logging.getLogger('quiet'), cfg=Config())
        APReport().after_val_epoch(alone, {'coco/bbox_mAP': 0.25})
        rows = json.loads((tmp_path / 'ap_val.json').read_text())['measured']
        assert [(row['label'], row['AP']) for row in rows] == [('epoch 1', 0.5), ('this model', 0.25)]
