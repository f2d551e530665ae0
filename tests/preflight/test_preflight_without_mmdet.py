"""The checks in an environment without mmdet, as for classifiers (mmpretrain) and segmentors (mmsegmentation)."""

import subprocess
import sys

from conftest import REPO

ALONE = """
import importlib, sys
sys.modules['mmdet'] = None
from mmengine.config import Config
from fishnet_mmdet.preflight import examine
for name in ('accuracy_report', 'ap_report', 'coco_eval', 'pixel_reports', 'published', 'results_files', 'table'):
    importlib.import_module(f'fishnet_mmdet.evaluation.{name}')
for name in ('coco_fields', 'coco_geometry', 'coco_masks', 'json_files', 'tiny_imagenet'):
    importlib.import_module(f'fishnet_mmdet.data.{name}')
root = sys.argv[1]
classes = dict(type='CustomDataset', data_root=root, data_prefix=dict(img_path='train'))
maps = dict(type='BaseSegDataset', data_root=root, data_prefix=dict(img_path='images', seg_map_path='maps'))
coco = dict(type='CocoDataset', data_root=root, ann_file='x.json')
cfg = Config(dict(
    model=dict(head=dict(num_classes=2), decode_head=dict(num_classes=3)),
    train_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=[classes, maps, coco])),
    val_evaluator=dict(type='CocoMetric', ann_file='x.json'),
))
report = examine(cfg, ['train', 'val'], weights=True)
# The config has no loops: only its data are looked at here.
print([(f.kind, f.where) for f in report.findings if f.kind != 'parts-missing'])
assert sys.modules['mmdet'] is None
"""


def run_alone(root):
    done = subprocess.run(
        [sys.executable, '-c', ALONE, str(root)], capture_output=True, text=True, cwd=REPO, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_folders_are_checked_and_coco_is_reported_as_unchecked(tmp_path):
    for number in range(3):
        (tmp_path / f'train/{number}').mkdir(parents=True)
        (tmp_path / f'train/{number}/x.jpg').touch()
    for name in ('images', 'maps'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'x.png').touch()
    expected = [('folders', 'train'), ('not-checked', 'train'), ('not-checked', 'val evaluator')]
    assert str(expected) in run_alone(tmp_path)
