"""The times of both evaluators: what is drawn, and that the command compares."""

import importlib.util
import sys

import numpy as np
import pytest

from fishnet_mmdet.evaluation.coco_eval import evaluate
from fishnet_mmdet.lab import evaluators

SIZE = ['--images', '30', '--objects', '200', '--detections', '1500', '--rounds', '1']


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
def test_drawn_results_are_neither_perfect_nor_useless(iou_type):
    """As many as were asked for, spread over the images, the same for the same seed, of every size."""
    truth = evaluators.draw_annotations(30, 200, seed=0)
    rows = evaluators.draw_results(truth, 1501, iou_type, seed=0)
    counts = np.unique([row['image_id'] for row in rows], return_counts=True)[1]
    assert len(truth.anns) == 200 and len(rows) == 1501 and {*counts} == {50, 51}
    again = evaluators.draw_annotations(30, 200, seed=0)
    assert again.dataset == truth.dataset and evaluators.draw_results(again, 1501, iou_type, seed=0) == rows
    assert evaluators.draw_results(truth, 1501, iou_type, seed=1) != rows
    figures, _ = evaluate(truth, rows, iou_type)
    assert 0.02 < figures['AP'] < 0.9
    assert all(figures[name] > 0 for name in ('AP_S', 'AP_M', 'AP_L', 'AR_1', 'AR_100'))


@pytest.mark.skipif(not importlib.util.find_spec('faster_coco_eval'), reason='needs faster-coco-eval')
class TestCommand:
    def test_times_both_and_compares(self, monkeypatch, capsys):
        monkeypatch.setattr(sys, 'argv', ['evaluators', *SIZE, '--iou-types', 'bbox', 'segm', '--seed', '3'])
        assert evaluators.main() == 0
        out = capsys.readouterr().out
        assert out.count('pycocotools') == 4 and '200 objects, 1,500 detections' in out

    def test_a_difference_is_a_failure(self, monkeypatch, capsys):
        def different(truth, rows, iou_type, fast):
            figures, per_class = evaluate(truth, rows, iou_type)
            return {**figures, 'AP75': figures['AP75'] + 1e-8 * fast}, per_class

        monkeypatch.setattr(evaluators, 'evaluate', different)
        monkeypatch.setattr(sys, 'argv', ['evaluators', *SIZE, '--iou-types', 'bbox'])
        assert evaluators.main() == 1
        assert 'largest difference 1.0e-08' in capsys.readouterr().out
