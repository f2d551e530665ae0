"""faster-coco-eval in place of pycocotools: equal figures on everything that test_ap.py evaluates; its flags."""

import copy
import importlib.util
import io
import json
import sys
from contextlib import redirect_stdout

import numpy as np
import pytest
from ap_case import NAMES, detections, hard_annotations, noisy_results, pycocotools_stats
from conftest import CONFIGS, demo_options
from in_process import run_here
from mmengine.config import Config
from pycocotools.cocoeval import COCOeval

from fishnet_mmdet.base.errors import ConfigError, UserError
from fishnet_mmdet.evaluation.coco_eval import evaluate, evaluator_class, load_annotations
from fishnet_mmdet.evaluation.coco_names import FIGURES
from fishnet_mmdet.evaluation.metric import OfficialCocoMetric
from fishnet_mmdet.evaluation.results_files import indexed
from fishnet_mmdet.training.launch import switch_on_fast_eval

needs_it = pytest.mark.skipif(not importlib.util.find_spec('faster_coco_eval'), reason='needs faster-coco-eval')
both_kinds = pytest.mark.parametrize('iou_type', ['bbox', 'segm'])


@pytest.fixture(scope='module')
def hard(demo_data, tmp_path_factory):
    path = tmp_path_factory.mktemp('hard') / 'hard.json'
    path.write_text(json.dumps(hard_annotations(demo_data)))
    return path


@pytest.fixture
def absent(monkeypatch):
    monkeypatch.setitem(sys.modules, 'faster_coco_eval', None)


def assert_equal(fast, slow):
    """Figures, and objects and figures of each class, to rounding; NaN in the same places."""
    (figures, classes), (others, their_classes) = fast, slow
    assert classes.keys() == their_classes.keys()
    assert [c.objects for c in classes.values()] == [c.objects for c in their_classes.values()]
    pairs = [(figures, others), *((c.figures, their_classes[name].figures) for name, c in classes.items())]
    for ours, theirs in pairs:
        assert ours.keys() == theirs.keys()
        np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=0, atol=1e-12)


@needs_it
class TestFigures:
    @both_kinds
    @pytest.mark.parametrize('copies', [1, 200], ids=['few', 'more than 100 an image'])
    def test_crowds_bare_images_and_classes_without_objects(self, hard, iou_type, copies):
        rows = noisy_results(load_annotations(hard), np.random.default_rng(copies), copies)
        fast = evaluate(load_annotations(hard), rows, iou_type, fast=True)
        assert_equal(fast, evaluate(load_annotations(hard), rows, iou_type))
        stats = pycocotools_stats(hard, rows, iou_type)
        stats = np.where(np.equal(stats, -1), np.nan, stats)
        np.testing.assert_allclose(list(fast[0].values()), stats, rtol=0, atol=1e-12)
        assert 0.01 < fast[0]['AP'] < 0.95 and np.isnan(fast[1]['triangle'].figures['AP'])

    @both_kinds
    def test_part_of_the_images_and_classes_in_any_order(self, hard, iou_type):
        truth = load_annotations(hard)
        rows = noisy_results(truth, np.random.default_rng(0), 20)
        part = dict(category_ids=[2, 1], image_ids=list(truth.imgs)[4::-1])
        assert_equal(evaluate(truth, rows, iou_type, **part, fast=True), evaluate(truth, rows, iou_type, **part))

    @both_kinds
    def test_scores_that_tie(self, annotations, iou_type):
        truth = load_annotations(annotations)
        rows = noisy_results(truth, np.random.default_rng(0), 40)
        for row in rows:
            row['score'] = round(row['score'], 1)
        assert_equal(evaluate(truth, rows, iou_type, fast=True), evaluate(truth, rows, iou_type))

    @both_kinds
    def test_no_detections(self, hard, iou_type):
        truth = load_annotations(hard)
        fast = evaluate(truth, [], iou_type, fast=True)
        assert_equal(fast, evaluate(truth, [], iou_type))
        assert fast[0]['AP'] == 0

    def test_boxes_of_masks(self, annotations):
        truth = load_annotations(annotations)
        rows = noisy_results(truth, np.random.default_rng(0), 2)
        for row in rows:
            del row['bbox']
        assert_equal(evaluate(truth, rows, 'bbox', fast=True), evaluate(truth, rows, 'bbox'))

    @pytest.mark.parametrize('rename', [str, lambda key: 2**53 + key], ids=['texts', 'longer than a float holds'])
    def test_ids_that_it_cannot_hold_are_left_to_pycocotools(self, annotations, rename):
        """As floats, 2**53 and 2**53 + 1 are one number."""
        content = json.loads(annotations.read_text())
        rows = noisy_results(load_annotations(annotations), np.random.default_rng(0), 4)
        expected = evaluate(indexed(copy.deepcopy(content)), rows, 'bbox')
        for image in content['images']:
            image['id'] = rename(image['id'])
        for entry in (*content['annotations'], *rows):
            entry['image_id'] = rename(entry['image_id'])
        assert_equal(evaluate(indexed(content), rows, 'bbox', fast=True), expected)

    def test_proposals(self, hard):
        """All classes as one, as mmdet's metric evaluates proposals; ours leaves them to it."""
        truth, stats = load_annotations(hard), []
        rows = [
            {key: row[key] for key in ('image_id', 'category_id', 'bbox', 'score')}
            for row in noisy_results(truth, np.random.default_rng(0), 60)
        ]
        for kind in (evaluator_class(fast=True), COCOeval):
            with redirect_stdout(io.StringIO()):
                evaluator = kind(truth, truth.loadRes(copy.deepcopy(rows)), 'bbox')
                evaluator.params.useCats = 0
                evaluator.evaluate(), evaluator.accumulate(), evaluator.summarize()
            stats.append(evaluator.stats)
        np.testing.assert_allclose(*stats, rtol=0, atol=1e-12)

    def test_of_the_metric(self, hard):
        figures = []
        for fast in (True, False):
            metric = OfficialCocoMetric(str(hard), ['bbox', 'segm'], True, fast=fast)
            metric.dataset_meta = dict(classes=NAMES)
            truth, rng = load_annotations(hard), np.random.default_rng(0)
            for image_id in truth.imgs:
                metric.process({}, [detections(truth, image_id, rng, False)])
            figures.append(metric.evaluate(len(truth.imgs)))
        fast, slow = figures
        assert fast == pytest.approx(slow, rel=0, abs=1e-12, nan_ok=True)
        assert {'coco/segm_mAP', 'coco/disc_precision'} <= fast.keys()


class TestFlag:
    @needs_it
    def test_eval(self, annotations, tmp_path):
        rows = noisy_results(load_annotations(annotations), np.random.default_rng(0))
        (tmp_path / 'r.json').write_text(json.dumps(rows))
        arguments = ('tools/eval_results.py', annotations, tmp_path / 'r.json', '--out')
        done = [run_here(*arguments, tmp_path / 'slow'), run_here(*arguments, tmp_path / 'fast', '--fast-eval')]
        assert done[0].stdout == done[1].stdout and not any(d.returncode for d in done)
        slow, fast = (json.loads((tmp_path / name).read_text()) for name in ('slow', 'fast'))
        assert [fast[name] for name in FIGURES] == pytest.approx([slow[name] for name in FIGURES], abs=1e-12)

    @needs_it
    @pytest.mark.parametrize('split', ['val', 'test'])
    def test_of_train_and_test_sets_the_metrics(self, split):
        official = dict(type='OfficialCocoMetric', ann_file='a.json')
        cfg = Config({f'{split}_evaluator': [official, dict(type='DumpResults', out_file_path='x.pkl')]})
        switch_on_fast_eval(cfg, split)
        assert [node.get('fast') for node in cfg[f'{split}_evaluator']] == [True, None]

    @needs_it
    def test_is_refused_where_it_has_no_effect(self):
        with pytest.raises(ConfigError, match='--fast-eval: val_evaluator has Accuracy'):
            switch_on_fast_eval(Config(dict(val_evaluator=dict(type='Accuracy'))), 'val')

    @pytest.mark.parametrize(
        'tool', [('eval_results.py', 'a.json', 'r.json'), ('train.py', CONFIGS / 'mask_rcnn_fishnet_demo.py')]
    )
    def test_without_the_package(self, tool, absent, tmp_path):
        done = run_here(f'tools/{tool[0]}', *tool[1:], '--fast-eval', cwd=tmp_path)
        assert done.returncode == 1 and done.stderr.startswith('error: the fast evaluation needs')
        assert 'pip install faster-coco-eval' in done.stderr and len(done.stderr.splitlines()) == 1

    def test_without_the_package_the_metric_says_so_at_once(self, annotations, absent):
        with pytest.raises(UserError, match='pip install faster-coco-eval'):
            OfficialCocoMetric(str(annotations), fast=True)

    @needs_it
    def test_a_training_validates_with_it(self, demo_data, tmp_path, run_tool):
        options = [*demo_options(demo_data), 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1']
        options.append('train_dataloader.dataset.indices=2')
        config = CONFIGS / 'mask_rcnn_fishnet_demo.py'
        done = run_tool('tools/train.py', config, '--fast-eval', '--work-dir', tmp_path, '--cfg-options', *options)
        assert done.returncode == 0, done.stderr[-2000:]
        (written,) = tmp_path.glob('*/vis_data/config.py')
        assert Config.fromfile(written).val_evaluator.fast is True
        assert len(json.loads((tmp_path / 'ap_val.json').read_text())['measured']) == 2
