"""AP figures against pycocotools called by hand: of result files, and of the metric on one rank and on two."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ap_case import NAMES, detections, hard_annotations, noisy_results, pycocotools_stats
from conftest import REPO
from in_process import run_here
from matplotlib.image import imread
from mmengine.logging import MMLogger

from fishnet_mmdet.evaluation.ap_report import APReport
from fishnet_mmdet.evaluation.coco_eval import evaluate, load_annotations
from fishnet_mmdet.evaluation.coco_names import CLASS_FIGURES, FIGURES, MMDET_NAMES
from fishnet_mmdet.evaluation.metric import OfficialCocoMetric


@pytest.fixture(scope='session')
def hard(demo_data, tmp_path_factory):
    path = tmp_path_factory.mktemp('hard') / 'hard.json'
    path.write_text(json.dumps(hard_annotations(demo_data)))
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
    np.testing.assert_allclose(list(figures.values()), pycocotools_stats(hard, rows, iou_type), rtol=0, atol=1e-12)
    assert 0.01 < figures['AP'] < 0.95
    assert per_class['triangle'].objects == 0 and np.isnan([*per_class['triangle'].figures.values()]).all()


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
@pytest.mark.parametrize('copies', [1, 60], ids=['few', 'more than 100 an image'])
def test_all_twelve_figures_are_pycocotools(annotations, iou_type, copies):
    truth = load_annotations(annotations)
    rows = noisy_results(truth, np.random.default_rng(copies), copies)
    figures, per_class = evaluate(truth, rows, iou_type)
    assert tuple(figures) == FIGURES
    np.testing.assert_allclose(list(figures.values()), pycocotools_stats(annotations, rows, iou_type), atol=1e-12)
    assert 0.05 < figures['AP'] < 0.95
    assert np.mean([c.figures['AP'] for c in per_class.values()]) == pytest.approx(figures['AP'])
    assert sum(c.objects for c in per_class.values()) == sum(not a['iscrowd'] for a in truth.anns.values())
    # pycocotools, one class at a time.
    for category, (name, ours) in zip(truth.cats, per_class.items(), strict=True):
        alone, _ = evaluate(truth, rows, iou_type, category_ids=[category])
        np.testing.assert_allclose([ours.figures[k] for k in CLASS_FIGURES], [alone[k] for k in CLASS_FIGURES])
        assert truth.cats[category]['name'] == name


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
    np.testing.assert_equal(evaluate(truth, rows, 'bbox'), evaluate(load_annotations(annotations), rows, 'bbox'))


@pytest.mark.parametrize('place', [0, 3], ids=['first', 'last'])
def test_a_root_category_named_like_a_class(annotations, tmp_path, place):
    content = json.loads(annotations.read_text())
    content['categories'].insert(place, dict(id=9 * bool(place), name='disc'))
    (tmp_path / 'rooted.json').write_text(json.dumps(content))
    truth = load_annotations(annotations)
    rows = noisy_results(truth, np.random.default_rng(0))
    rooted = load_annotations(tmp_path / 'rooted.json')
    np.testing.assert_equal(evaluate(rooted, rows, 'bbox'), evaluate(truth, rows, 'bbox'))


def test_two_used_categories_of_one_name_are_both_shown(annotations, tmp_path):
    content = json.loads(annotations.read_text())
    content['categories'][1]['name'] = 'disc'
    (tmp_path / 'same.json').write_text(json.dumps(content))
    truth = load_annotations(annotations)
    rows = noisy_results(truth, np.random.default_rng(0))
    (_, ours), (_, theirs) = (evaluate(t, rows, 'bbox') for t in (load_annotations(tmp_path / 'same.json'), truth))
    np.testing.assert_equal(ours, {'disc': theirs['disc'], 'disc (2)': theirs['box'], 'triangle': theirs['triangle']})


def test_boxes_of_masks_are_pycocotools(annotations):
    """A segm results file that is evaluated as bbox."""
    truth = load_annotations(annotations)
    rows = noisy_results(truth, np.random.default_rng(0), 2)
    for row in rows:
        del row['bbox']
    figures, _ = evaluate(truth, rows, 'bbox')
    np.testing.assert_allclose(list(figures.values()), pycocotools_stats(annotations, rows, 'bbox'), atol=1e-12)
    assert 0.05 < figures['AP'] < 0.95


class TestTool:
    def test_a_larger_file_is_read_on_demand(self, annotations, tmp_path):
        rows = noisy_results(load_annotations(annotations), np.random.default_rng(0))
        (tmp_path / 'results.json').write_text(json.dumps(rows))
        arguments = ['tools/eval_results.py', annotations, tmp_path / 'results.json', '--max-gib']
        done = run_here(*arguments, 1e-6)
        assert done.returncode == 1 and 'bytes' in done.stderr
        assert run_here(*arguments, 1).returncode == 0

    def test_prints_and_writes_the_figures(self, annotations, tmp_path):
        """Also those of each class: the mean of the classes is the AP; no figure is -1 where there is no object."""
        content = json.loads(annotations.read_text())
        content['annotations'] = [a for a in content['annotations'] if a['category_id'] != 3 and a['area'] < 96**2]
        (tmp_path / 'a.json').write_text(json.dumps(content))
        rows = noisy_results(load_annotations(tmp_path / 'a.json'), np.random.default_rng(0))
        (tmp_path / 'results.json').write_text(json.dumps(rows))
        out, plot = tmp_path / 'figures.json', tmp_path / 'classes.png'
        flags = ['--iou-type', 'segm', '--out', out, '--classwise', '--plot', plot]
        done = run_here('tools/eval_results.py', tmp_path / 'a.json', tmp_path / 'results.json', *flags)
        assert done.returncode == 0, done.stderr
        figures = json.loads(out.read_text(), parse_constant=pytest.fail)
        expected = pycocotools_stats(tmp_path / 'a.json', rows, 'segm')
        ours = [np.nan if figures[name] is None else figures[name] for name in FIGURES]
        np.testing.assert_allclose(ours, expected, atol=1e-12)
        assert 'AR_100' in done.stdout and f'{100 * expected[0]:.1f}' in done.stdout
        assert figures['AP_L'] is None and '-1' not in done.stdout and '-100' not in done.stdout
        by_class = figures['AP_by_class']
        assert by_class['triangle'] is None
        assert (by_class['disc'] + by_class['box']) / 2 == pytest.approx(expected[0])
        table = done.stdout[done.stdout.index('by class') :]
        order = sorted(NAMES, key=lambda name: -(by_class[name] or -1))
        assert re.findall('|'.join(NAMES), table) == order and order[-1] == 'triangle'
        for name, number in zip(NAMES, (1, 2, 3), strict=True):
            (cells,) = [line.replace('│', ' ').split() for line in table.splitlines() if name in line]
            assert int(cells[1]) == sum(a['category_id'] == number for a in content['annotations'])
            assert cells[2] == ('-' if by_class[name] is None else f'{100 * by_class[name]:.1f}')
        assert imread(plot).shape[1] > 500

    def test_a_plot_without_classes(self, tmp_path):
        (tmp_path / 'a.json').write_text(json.dumps(dict(images=[], categories=[], annotations=[])))
        (tmp_path / 'r.json').write_text('[]')
        flags = ['--plot', 'classes.png', '--out', 'figures.json']
        done = run_here('tools/eval_results.py', 'a.json', 'r.json', *flags, cwd=tmp_path)
        assert done.returncode == 1 and 'a.json has no categories' in done.stderr, done.stderr
        assert (tmp_path / 'figures.json').is_file()

    def test_a_plot_that_is_not_png(self, annotations, tmp_path):
        done = run_here('tools/eval_results.py', annotations, 'x.json', '--plot', tmp_path / 'classes.jpg')
        assert done.returncode == 2 and 'classes.jpg must end in .png' in done.stderr

    @pytest.mark.parametrize(
        'flags, named',
        [
            ([], 'none.json'),
            (['--out', '.'], 'is a folder'),
            (['--out', 'file/x.json'], 'it is not a folder'),
            (['--plot', 'file/x.png'], 'it is not a folder'),
        ],
    )
    def test_a_bad_path_is_one_line(self, annotations, tmp_path, flags, named):
        (tmp_path / 'file').touch()
        done = run_here('tools/eval_results.py', annotations, tmp_path / 'none.json', *flags, cwd=tmp_path)
        assert done.returncode == 1 and named in done.stderr
        assert done.stderr.startswith('error: ') and len(done.stderr.splitlines()) == 1


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
        expected = pycocotools_stats(annotations, json.loads(Path(f'{prefix}.{iou_type}.json').read_text()), iou_type)
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
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        ranks = [json.loads((tmp_path / f'r.rank{rank}.json').read_text()) for rank in (0, 1)]
        assert ranks[0] == ranks[1]
        rows = json.loads((tmp_path / 'r.bbox.json').read_text())
        assert len({(row['image_id'], *row['bbox'], row['score']) for row in rows}) == len(rows)  # no image twice
        assert_figures_of(ranks[0], hard, tmp_path / 'r')

    def test_perfect_boxes_and_masks(self, annotations):
        metrics = run_metric(annotations, empty=False, classwise=True)
        assert metrics['coco/segm_mAP_50'] > 0.99 and metrics['coco/bbox_mAP'] > 0.95
        for name in NAMES:
            # mmdet's name holds the AP of the last metric.
            assert metrics[f'coco/{name}_precision'] == metrics[f'coco/segm_{name}_precision'] > 0.9
            assert metrics[f'coco/bbox_{name}_precision'] > 0.9

    def test_names_and_order_of_arguments_are_mmdets(self, annotations):
        metric = OfficialCocoMetric(str(annotations), 'bbox', True)
        metric.dataset_meta = dict(classes=NAMES)
        truth = load_annotations(annotations)
        for image_id in truth.imgs:
            metric.process({}, [detections(truth, image_id, np.random.default_rng(0), False, 1)])
        metrics = metric.evaluate(len(truth.imgs))
        assert {key for key in metrics if 'precision' in key} == {f'coco/{name}_precision' for name in NAMES}

    def test_a_size_without_objects_is_nan(self, annotations, tmp_path):
        """As mmdet's own figures of classes; never pycocotools' -1."""
        content = json.loads(annotations.read_text())
        content['annotations'] = [a for a in content['annotations'] if a['category_id'] != 3 and a['area'] < 96**2]
        (tmp_path / 'a.json').write_text(json.dumps(content))
        metrics = run_metric(tmp_path / 'a.json', empty=False, classwise=True)
        absent = {key for key, value in metrics.items() if np.isnan(value)}
        sizes = {f'coco/{t}_{figure}' for t in ('bbox', 'segm') for figure in ('mAP_l', 'AR_l@100')}
        assert absent == sizes | {f'coco/{t}triangle_precision' for t in ('', 'bbox_', 'segm_')}
        assert min(value for value in metrics.values() if not np.isnan(value)) > 0.5
        assert [row.figures['AP_L'] for row in APReport().measured(metrics, 'x')] == [None, None]

    def test_nothing_detected(self, annotations):
        """mmdet's own metric returns nothing here, and save_best then fails."""
        logged = []
        logger, handler = MMLogger.get_current_instance(), logging.Handler()
        handler.emit = lambda record: logged.append(record.getMessage())
        logger.addHandler(handler)
        metrics = run_metric(annotations, empty=True)
        logger.removeHandler(handler)
        assert metrics['coco/bbox_mAP'] == metrics['coco/segm_mAP'] == 0
        assert any('Likely causes' in line for line in logged)
        assert [row.kind for row in APReport().measured(metrics, 'x')] == ['bbox', 'segm']

    def test_other_metrics_are_left_to_mmdet(self):
        with pytest.raises(ValueError, match='proposal.*CocoMetric'):
            OfficialCocoMetric(metric='proposal')
