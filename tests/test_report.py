"""AP figures against pycocotools called by hand, the AP table, and what happens without detections."""

import copy
import io
import json
import logging
from contextlib import redirect_stdout
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fishnet_mmdet.report.accuracy_report import AccuracyReport
from fishnet_mmdet.report.ap_report import APReport
from fishnet_mmdet.report.coco_eval import FIGURES, ResultsError, evaluate, load_annotations, load_results
from fishnet_mmdet.report.metric import OfficialCocoMetric


@pytest.fixture
def annotations(demo_data):
    return demo_data / 'annotations' / 'instances_train.json'


def noisy_results(truth, rng, copies=1):
    """Detections near the annotations, some missed, some doubled, some of a wrong class."""
    rows = []
    for annotation in truth.anns.values():
        if rng.random() < 0.2:
            continue
        for _ in range(rng.integers(1, copies + 1)):
            mask = np.roll(truth.annToMask(annotation), rng.integers(-3, 4, 2), (0, 1))
            rle = coco_mask.encode(np.asfortranarray(mask))
            x, y, w, h = annotation['bbox']
            dx, dy = rng.uniform(-3, 3, 2)
            category = annotation['category_id'] if rng.random() < 0.8 else int(rng.integers(1, 4))
            rows.append(
                {
                    'image_id': annotation['image_id'],
                    'category_id': category,
                    'bbox': [x + dx, y + dy, w, h],
                    'segmentation': {'size': rle['size'], 'counts': rle['counts'].decode()},
                    'score': float(rng.random()),
                }
            )
    return rows


def pycocotools_stats(path, rows, iou_type):
    """What a user would do by hand."""
    rows = copy.deepcopy(rows)
    if iou_type == 'segm':
        for row in rows:
            del row['bbox']
    with redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        evaluator = COCOeval(truth, truth.loadRes(rows), iou_type)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
@pytest.mark.parametrize('copies', [1, 60], ids=['few', 'more than 100 an image'])
def test_all_twelve_figures_are_pycocotools(annotations, iou_type, copies):
    truth = load_annotations(annotations)
    rows = noisy_results(truth, np.random.default_rng(copies), copies)
    figures, per_class = evaluate(truth, rows, iou_type)
    assert tuple(figures) == FIGURES
    np.testing.assert_allclose(
        list(figures.values()), pycocotools_stats(annotations, rows, iou_type), atol=1e-12
    )
    assert 0.05 < figures['AP'] < 0.95
    assert np.mean(list(per_class.values())) == pytest.approx(figures['AP'])


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
def test_no_detections_give_zeros(annotations, iou_type):
    figures, _ = evaluate(load_annotations(annotations), [], iou_type)
    assert figures['AP'] == figures['AP50'] == figures['AR_100'] == 0


def test_annotations_without_info_are_evaluated(annotations, tmp_path):
    """pycocotools 2.0.8 and later copy `info` without asking whether it is there."""
    content = json.loads(annotations.read_text())
    del content['info']
    (tmp_path / 'bare.json').write_text(json.dumps(content))
    truth = load_annotations(tmp_path / 'bare.json')
    rows = noisy_results(truth, np.random.default_rng(0))
    assert evaluate(truth, rows, 'bbox')[0] == evaluate(load_annotations(annotations), rows, 'bbox')[0]


@pytest.mark.parametrize(
    'change, named',
    [
        (lambda row: row.pop('score'), 'result 0 lacks.*score'),
        (lambda row: row.pop('bbox'), 'result 0 lacks.*bbox'),
        (lambda row: row.update(image_id=999), 'image 999.*belong together'),
        (lambda row: row.update(category_id=99), r'category 99.*\[1, 2, 3\]'),
    ],
)
def test_rows_that_fit_no_annotation_are_named(annotations, change, named):
    truth = load_annotations(annotations)
    rows = noisy_results(truth, np.random.default_rng(0))
    change(rows[0])
    with pytest.raises(ResultsError, match=named):
        evaluate(truth, rows, 'bbox')


def test_files_that_are_not_coco(tmp_path):
    (tmp_path / 'page.json').write_text('<html>')
    (tmp_path / 'object.json').write_text('{}')
    for loader in (load_annotations, load_results):
        for name, reason in (
            ('none.json', 'cannot be read'),
            ('page.json', 'not JSON'),
            ('object.json', 'not'),
        ):
            with pytest.raises(ResultsError, match=f'{name}.*{reason}'):
                loader(tmp_path / name)


class TestTool:
    def test_prints_and_writes_the_figures(self, annotations, tmp_path, run_tool):
        rows = noisy_results(load_annotations(annotations), np.random.default_rng(0))
        (tmp_path / 'results.json').write_text(json.dumps(rows))
        out = tmp_path / 'figures.json'
        done = run_tool(
            'tools/eval_results.py',
            annotations,
            tmp_path / 'results.json',
            '--iou-type',
            'segm',
            '--out',
            out,
        )
        assert done.returncode == 0, done.stderr
        figures = json.loads(out.read_text())
        expected = pycocotools_stats(annotations, rows, 'segm')
        np.testing.assert_allclose([figures[name] for name in FIGURES], expected, atol=1e-12)
        assert 'AR_100' in done.stdout and f'{100 * expected[0]:.1f}' in done.stdout

    def test_a_bad_file_is_one_line(self, annotations, tmp_path, run_tool):
        done = run_tool('tools/eval_results.py', annotations, tmp_path / 'none.json')
        assert done.returncode == 1 and 'none.json' in done.stderr and 'Traceback' not in done.stderr


def detections(truth, image_id, rng, empty):
    """One image's predictions as mmdet's test loop hands them to a metric."""
    boxes = [] if empty else [a['bbox'] for a in truth.imgToAnns[image_id]]
    labels = [] if empty else [a['category_id'] - 1 for a in truth.imgToAnns[image_id]]
    masks = [] if empty else [truth.annToMask(a).astype(bool) for a in truth.imgToAnns[image_id]]
    height, width = truth.imgs[image_id]['height'], truth.imgs[image_id]['width']
    xywh = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    instances = InstanceData(
        bboxes=torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1),
        scores=torch.tensor(rng.random(len(boxes)), dtype=torch.float32),
        labels=torch.tensor(labels, dtype=torch.long),
        masks=torch.tensor(np.array(masks).reshape(-1, height, width)),
    )
    return dict(pred_instances=instances, img_id=image_id, ori_shape=(height, width))


def run_metric(annotations, empty, **kwargs):
    metric = OfficialCocoMetric(ann_file=str(annotations), metric=['bbox', 'segm'], **kwargs)
    metric.dataset_meta = dict(classes=('disc', 'box', 'triangle'))
    truth, rng = load_annotations(annotations), np.random.default_rng(0)
    for image_id in truth.imgs:
        metric.process({}, [detections(truth, image_id, rng, empty)])
    return metric.evaluate(len(truth.imgs))


class TestMetric:
    def test_perfect_boxes_and_masks(self, annotations):
        metrics = run_metric(annotations, empty=False, classwise=True)
        assert metrics['coco/segm_mAP_50'] > 0.99 and metrics['coco/bbox_mAP'] > 0.95
        assert 'coco/segm_disc_precision' in metrics

    def test_nothing_detected(self, annotations):
        """mmdet's own metric returns nothing here, and save_best then fails."""
        told = []
        logger, handler = MMLogger.get_current_instance(), logging.Handler()
        handler.emit = lambda record: told.append(record.getMessage())
        logger.addHandler(handler)
        metrics = run_metric(annotations, empty=True)
        logger.removeHandler(handler)
        assert metrics['coco/bbox_mAP'] == metrics['coco/segm_mAP'] == 0
        assert any('Likely causes' in line for line in told)
        assert [row.kind for row in APReport().measured(metrics, 'x')] == ['bbox', 'segm']

    def test_other_metrics_are_left_to_mmdet(self):
        with pytest.raises(ValueError, match='proposal.*CocoMetric'):
            OfficialCocoMetric(metric='proposal')


class TestTable:
    METRICS = {
        'coco/bbox_mAP': 0.4149, 'coco/bbox_mAP_50': 0.6, 'coco/bbox_mAP_75': 0.45,
        'coco/bbox_mAP_s': -1, 'coco/bbox_mAP_m': 0.449, 'coco/bbox_mAP_l': 0.55,
        'coco/bbox_AR@100': 0.7, 'data_time': 0.1, 'time': 0.2,
    }  # fmt: skip

    def test_percent_with_one_decimal(self):
        (row,) = APReport().measured(self.METRICS, 'epoch 3')
        assert APReport.style.cells(row) == ['epoch 3', 'bbox', '41.5', '60.0', '45.0', '-', '44.9', '55.0']

    @pytest.mark.parametrize('detector, count', [('MaskRCNN', 8), ('FasterRCNN', 4), ('RetinaNet', 0)])
    def test_the_papers_rows_say_so(self, detector, count):
        rows = APReport().published(dict(type=detector))
        assert len(rows) == count
        assert all('paper' in row.label and 'not measured here' in row.label for row in rows)

    def test_both_renderings_hold_every_figure(self):
        report = APReport()
        own, paper = report.measured(self.METRICS, 'epoch 3'), report.published(dict(type='FasterRCNN'))
        for text in (report.style.on_screen(own, paper, 'T'), report.style.markdown([*own, *paper], 'T')):
            for cell in ('41.5', '60.0', '40.6', '53.7', 'AP_S', 'FishNet-150'):
                assert cell in text

    def test_accuracy_beside_the_released_files(self):
        report = AccuracyReport()
        (row,) = report.measured({'accuracy/top1': 77.5, 'accuracy/top5': 93.125, 'time': 1}, 'this model')
        assert report.style.cells(row) == ['this model', '', '77.50', '93.12']
        model = dict(backbone=dict(arch='fishnet150'), head=dict(num_classes=1000))
        rows = [report.style.cells(row) for row in report.published(model)]
        assert [row[2:] for row in rows] == [['78.14', '93.95'], ['79.35', '94.75'], ['-', '95.25']]
        assert all('not measured here' in row[0] for row in rows)
        assert report.published(dict(backbone=dict(arch='fishnet150'), head=dict(num_classes=9))) == []
        assert report.measured({'coco/bbox_mAP': 1.0}, 'x') == []

    def test_a_new_run_begins_its_table_anew_and_a_resumed_one_goes_on(self, tmp_path):
        def run(first, last, again=False):
            runner = SimpleNamespace(
                work_dir=tmp_path, epoch=first, iter=0, experiment_name='x', logger=logging.getLogger('quiet'),
                cfg=SimpleNamespace(model=dict(type='MaskRCNN')),
            )  # fmt: skip
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
        (tmp_path / 'ap_val.json').write_text('{"measured": [{')  # cut short by a crash
        assert run(1, 2) == ['epoch 2']

    def test_a_test_stands_alone_whatever_was_validated_before(self, tmp_path):
        runner = SimpleNamespace(
            work_dir=tmp_path, epoch=0, iter=0, experiment_name='x', logger=logging.getLogger('quiet'),
            cfg=SimpleNamespace(model=dict(type='MaskRCNN')),
        )  # fmt: skip
        report = APReport()
        report.before_train(runner)
        runner.epoch = 1
        report.after_val_epoch(runner, self.METRICS)
        for _ in range(2):
            report.after_test_epoch(runner, self.METRICS)
        measured = json.loads((tmp_path / 'ap_test.json').read_text())['measured']
        assert [row['label'] for row in measured] == ['this model']
