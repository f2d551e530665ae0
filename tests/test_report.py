"""AP figures against pycocotools called by hand, the AP table, and what happens without detections."""

import copy
import io
import json
import logging
import os
import random
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import REPO
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fishnet_mmdet.data.coco import MAX_BYTES
from fishnet_mmdet.report.accuracy_report import AccuracyReport
from fishnet_mmdet.report.ap_report import APReport
from fishnet_mmdet.report.coco_checks import ResultsError
from fishnet_mmdet.report.coco_eval import FIGURES, evaluate, load_annotations, load_results
from fishnet_mmdet.report.metric import MMDET_NAMES, OfficialCocoMetric


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


NAMES = ('disc', 'box', 'triangle')


@pytest.fixture(scope='session')
def hard(demo_data, tmp_path_factory):
    """Seven images: crowds as run lengths, one image without objects, one with a crowd alone, a class nobody is of."""
    content = json.loads((demo_data / 'annotations' / 'instances_train.json').read_text())
    content['images'] = content['images'][:7]
    bare, crowded = content['images'][1]['id'], content['images'][2]['id']
    kept = {image['id'] for image in content['images']} - {bare}
    content['annotations'] = [
        a for a in content['annotations'] if a['image_id'] in kept and a['category_id'] != 3
    ]
    shapes = COCO(str(demo_data / 'annotations' / 'instances_train.json'))
    for number, annotation in enumerate(content['annotations']):
        if number % 5 == 0 or annotation['image_id'] == crowded:
            mask = shapes.annToMask(annotation)
            changes = np.flatnonzero(np.diff(mask.T.reshape(-1))) + 1
            counts = np.diff(np.concatenate([[0] * (1 + mask[0, 0]), changes, [mask.size]])).tolist()
            annotation.update(iscrowd=1, segmentation={'size': list(mask.shape), 'counts': counts})
    assert any(a['iscrowd'] and a['image_id'] != crowded for a in content['annotations'])
    assert any(not a['iscrowd'] for a in content['annotations'])
    path = tmp_path_factory.mktemp('hard') / 'hard.json'
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
@pytest.mark.parametrize('copies', [1, 200], ids=['few', 'more than 100 an image'])
def test_crowds_and_bare_images_are_pycocotools(hard, iou_type, copies):
    truth = load_annotations(hard)
    rows = noisy_results(truth, np.random.default_rng(copies), copies)
    bare = next(image for image in truth.imgs if not truth.imgToAnns[image])
    rows += [{**row, 'image_id': bare} for row in rows[:9]]  # nothing but false alarms
    most = max(sum(row['image_id'] == image for row in rows) for image in truth.imgs)
    assert (most > 100) == (copies > 1)
    figures, per_class = evaluate(truth, rows, iou_type)
    np.testing.assert_allclose(
        list(figures.values()), pycocotools_stats(hard, rows, iou_type), rtol=0, atol=1e-12
    )
    assert 0.01 < figures['AP'] < 0.95 and per_class['triangle'] == -1


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


class TestUntrusted:
    """Files that would make pycocotools crash, read past its memory, or count wrongly."""

    @staticmethod
    def sound(annotations):
        truth = load_annotations(annotations)
        return truth, noisy_results(truth, np.random.default_rng(0))

    @pytest.mark.parametrize(
        'change, told',
        [
            (lambda row: row.update(score=float('nan')), 'score'),
            (lambda row: row.update(score='0.9'), 'score'),
            (lambda row: row.update(image_id=[1]), 'image'),
            (lambda row: row.update(category_id={}), 'category'),
            (lambda row: row['segmentation'].update(size=[10**6, 10**6]), 'size'),
            (
                lambda row: row['segmentation'].update(counts='012P'),
                'ends within a number',
            ),  # its last number goes on
            (lambda row: row['segmentation'].update(counts='PPPPPPPPPPPPPPPPPPPPPPPP0'), 'more than 32 bits'),
            (lambda row: row['segmentation'].update(counts='\x00'), 'not a compressed RLE'),
            (lambda row: row['segmentation'].update(counts=[96 * 96]), 'no text'),
            (lambda row: row['segmentation'].update(counts='0'), 'add up'),
            (lambda row: row['segmentation'].update(counts='O'), 'add up'),  # -1
            (lambda row: row.update(segmentation=[[1, 2, 3, 4, 5, 6]]), 'size and counts'),
        ],
    )
    def test_unsound_masks_and_scores(self, annotations, change, told):
        truth, rows = self.sound(annotations)
        change(rows[3])
        with pytest.raises(ResultsError, match=f'result 3.*{told}'):
            evaluate(truth, rows, 'segm')

    @pytest.mark.parametrize(
        'box', [[1, 2, 3], [1, 2, 3, float('inf')], [1, 2, 3, 10**400], ['1', 2, 3, 4], None]
    )
    def test_unsound_boxes(self, annotations, box):
        truth, rows = self.sound(annotations)
        rows[3]['bbox'] = box
        with pytest.raises(ResultsError, match='result 3.*not four numbers'):
            evaluate(truth, rows, 'bbox')

    @pytest.mark.parametrize(
        'change, told',
        [
            (lambda a: a.update(segmentation=[[0, 0, 1e8, 0, 1e8, 1e8]]), 'far beyond'),
            (lambda a: a.update(segmentation=[]), 'neither polygons'),
            (lambda a: a.update(segmentation=[[0, 0, 1, 1]]), 'three points'),
            (lambda a: a.update(segmentation={'size': [1, 1], 'counts': '0'}), 'size'),
            (lambda a: a.update(image_id=77), 'image 77'),
            (lambda a: a.update(category_id=77), 'category 77'),
            (lambda a: a.update(area=None), 'area'),
            (lambda a: a.update(iscrowd=2), 'iscrowd'),
        ],
    )
    def test_unsound_annotations(self, annotations, tmp_path, change, told):
        content = json.loads(annotations.read_text())
        change(content['annotations'][5])
        (tmp_path / 'a.json').write_text(json.dumps(content))
        name = content['annotations'][5]['id']
        with pytest.raises(ResultsError, match=f'annotation {name} .number 5 of the file.*{told}'):
            evaluate(load_annotations(tmp_path / 'a.json'), [], 'segm')
        with pytest.raises(ResultsError, match=told):  # before a run starts
            OfficialCocoMetric(ann_file=str(tmp_path / 'a.json'), metric='segm')

    @pytest.mark.parametrize('numbering', ['from 0', 'all the same', 'texts', 'no crowd flag'])
    def test_ids_that_pycocotools_counts_wrongly(self, annotations, tmp_path, numbering):
        """To pycocotools an object whose id is 0 is never found, and one of two with the same id is the other."""
        truth, rows = self.sound(annotations)
        content = json.loads(annotations.read_text())
        for number, annotation in enumerate(content['annotations']):
            if numbering == 'no crowd flag':
                del annotation['iscrowd']
            else:
                annotation['id'] = {'from 0': number, 'all the same': 7, 'texts': f'a{number}'}[numbering]
        (tmp_path / 'a.json').write_text(json.dumps(content))
        for iou_type in ('bbox', 'segm'):
            ours = evaluate(load_annotations(tmp_path / 'a.json'), rows, iou_type)
            assert ours == evaluate(truth, rows, iou_type)

    def test_files_too_large_or_too_deep(self, tmp_path):
        with (tmp_path / 'large.json').open('wb') as file:
            file.truncate(MAX_BYTES + 1)
        (tmp_path / 'deep.json').write_text('[' * 100_000)
        (tmp_path / 'latin.json').write_bytes(b'["\xff"]')
        for name, told in (('large', 'bytes'), ('deep', 'not JSON'), ('latin', 'not JSON')):
            for load in (load_annotations, load_results):
                with pytest.raises(ResultsError, match=f'{name}.json: .*{told}'):
                    load(tmp_path / f'{name}.json')

    @pytest.mark.parametrize('rounds', [400, pytest.param(10_000, marks=pytest.mark.long)])
    def test_any_value_anywhere(self, annotations, tmp_path, rounds):
        """A few values of either file replaced, removed or doubled: figures, or one readable error."""
        content = json.loads(annotations.read_text())
        kept = {image['id'] for image in content['images'][:2]}
        content['images'] = content['images'][:2]
        content['annotations'] = [a for a in content['annotations'] if a['image_id'] in kept]
        (tmp_path / 'small.json').write_text(json.dumps(content))
        results = noisy_results(load_annotations(tmp_path / 'small.json'), np.random.default_rng(0))
        rng, told, counted = random.Random(0), 0, 0
        for number in range(rounds):
            files = {'truth': copy.deepcopy(content), 'results': copy.deepcopy(results)}
            for _ in range(rng.randint(1, 2)):
                spoil(files[rng.choice(['truth', 'results'])], rng)
            for name, file in files.items():
                (tmp_path / f'{name}.json').write_text(json.dumps(file))
            try:
                truth = load_annotations(tmp_path / 'truth.json')
                figures, _ = evaluate(
                    truth, load_results(tmp_path / 'results.json'), rng.choice(['bbox', 'segm'])
                )
                counted += 1
                assert all(-1 <= value <= 1 for value in figures.values()), number
            except ResultsError as error:
                told += 1
                assert len(str(error)) < 1000, number
        assert told > rounds / 4 and counted > rounds / 10


ODD_VALUES = (
    None, True, -1, 0, 1, 2, 0.5, 1e9, -1e300, 10**30, 10**400, float('nan'), float('inf'), '', 'x', '0', 'P', '\x00', [], {},
    [[]], [0], [1, 2, 3, 4], [[1, 2, 3, 4, 5, 6]], {'size': [96, 96], 'counts': 'P'}, {'size': [96, 96], 'counts': [96]},
)  # fmt: skip


def spoil(node, rng):
    """Walks down at random, and replaces, removes, doubles or cuts what it comes to."""
    while True:
        key = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        value = node[key]
        if isinstance(value, dict | list) and value and rng.random() < 0.9:
            node = value
            continue
        how = rng.random()
        if isinstance(value, str) and how < 0.3:
            node[key] = value[: rng.randrange(len(value) + 1)] + rng.choice(['', 'o', 'P', '0', '~'])
        elif how < 0.7:
            node[key] = rng.choice(ODD_VALUES)
        elif how < 0.85:
            del node[key]
        elif isinstance(node, list):
            node.append(copy.deepcopy(value))
        return


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


def detections(truth, image_id, rng, empty, copies=40):
    """One image's predictions as mmdet's test loop hands them to a metric; of each object one is exact, the rest shifted."""
    found = [] if empty else [a for a in truth.imgToAnns[image_id] for _ in range(copies)]
    height, width = truth.imgs[image_id]['height'], truth.imgs[image_id]['width']
    shifts = [rng.integers(-3, 4, 2) * (number % copies > 0) for number in range(len(found))]
    masks = [np.roll(truth.annToMask(a).astype(bool), s, (1, 0)) for a, s in zip(found, shifts, strict=True)]
    xywh = torch.tensor([a['bbox'] for a in found], dtype=torch.float32).reshape(-1, 4)
    corners = xywh[:, :2] + torch.tensor(np.array(shifts).reshape(-1, 2))
    sure = [1 - (number % copies) / copies for number in range(len(found))]
    instances = InstanceData(
        bboxes=torch.cat([corners, corners + xywh[:, 2:]], 1).float(),
        scores=torch.tensor(sure) * (0.5 + torch.tensor(rng.random(len(found))) / 2),
        labels=torch.tensor([a['category_id'] - 1 for a in found], dtype=torch.long),
        masks=torch.tensor(np.array(masks, dtype=bool).reshape(-1, height, width)),
    )
    return dict(pred_instances=instances, img_id=image_id, ori_shape=(height, width))


def run_metric(annotations, empty, copies=1, **kwargs):
    metric = OfficialCocoMetric(ann_file=str(annotations), metric=['bbox', 'segm'], **kwargs)
    metric.dataset_meta = dict(classes=NAMES)
    truth, rng = load_annotations(annotations), np.random.default_rng(0)
    for image_id in truth.imgs:
        metric.process({}, [detections(truth, image_id, rng, empty, copies)])
    return metric.evaluate(len(truth.imgs))


def assert_figures_of(metrics, annotations, prefix, names=MMDET_NAMES):
    """The metric's figures are what pycocotools makes of the results that the metric wrote."""
    for iou_type in ('bbox', 'segm'):
        expected = pycocotools_stats(
            annotations, json.loads(Path(f'{prefix}.{iou_type}.json').read_text()), iou_type
        )
        ours = [metrics[f'coco/{iou_type}_{names[figure]}'] for figure in FIGURES]
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)
        assert 0.05 < ours[0] < 0.999


class TestMetric:
    def test_figures_are_pycocotools(self, hard, tmp_path):
        metrics = run_metric(hard, empty=False, copies=40, outfile_prefix=str(tmp_path / 'r'))
        assert_figures_of(metrics, hard, tmp_path / 'r')

    def test_two_ranks_with_an_odd_number_of_images(self, hard, tmp_path):
        """MMEngine's sampler gives the last rank an image twice; the figures are those of each once, on both ranks."""
        command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
        command += [str(REPO / 'tests' / 'two_rank_metric.py'), str(hard), str(tmp_path / 'r')]
        environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3000:]
        ranks = [json.loads((tmp_path / f'r.rank{rank}.json').read_text()) for rank in (0, 1)]
        assert ranks[0] == ranks[1]
        rows = json.loads((tmp_path / 'r.bbox.json').read_text())
        assert len({(row['image_id'], *row['bbox'], row['score']) for row in rows}) == len(
            rows
        )  # no image twice
        assert_figures_of(ranks[0], hard, tmp_path / 'r')

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
