"""Several data sets, and teacher and student: each has rows of its own, in real evaluations and real runs of mmdet."""

import json
import pickle

import numpy as np
import pytest
from ap_case import NAMES, detections
from conftest import CONFIGS, demo_options
from mmdet.datasets import CocoDataset, ConcatDataset
from mmdet.evaluation import MultiDatasetsEvaluator

from fishnet_mmdet.evaluation.ap_report import APReport
from fishnet_mmdet.evaluation.coco_eval import load_annotations
from fishnet_mmdet.evaluation.metric import OfficialCocoMetric

TWO_DATA_SETS = """
def part(split):
    return dict(
        type='CocoDataset', data_root=root, metainfo=_base_.metainfo, test_mode=True, pipeline=_base_.test_pipeline,
        ann_file=f'annotations/instances_{split}.json', data_prefix=dict(img=f'{split}/'),
    )
day, night = part('val'), part('train')
del part
files = [root + f'annotations/instances_{split}.json' for split in ('val', 'train')]
test_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(_delete_=True, type='ConcatDataset', datasets=[day, night])
)
test_evaluator = dict(
    _delete_=True, type='MultiDatasetsEvaluator', dataset_prefixes=['day', 'night'],
    metrics=[dict(type='OfficialCocoMetric', ann_file=file, metric=['bbox', 'segm']) for file in files],
)
"""

TEACHER_AND_STUDENT = """
detector = _base_.model
detector.roi_head.pop('mask_head')
detector.roi_head.pop('mask_roi_extractor')
model = dict(
    _delete_=True, type='SoftTeacher', detector=detector,
    data_preprocessor=dict(type='MultiBranchDataPreprocessor', data_preprocessor=detector.data_preprocessor),
    semi_train_cfg=dict(
        freeze_teacher=True, sup_weight=1.0, unsup_weight=4.0, pseudo_label_initial_score_thr=0.5, rpn_pseudo_thr=0.9,
        cls_pseudo_thr=0.9, reg_pseudo_thr=0.02, jitter_times=2, jitter_scale=0.06, min_pseudo_bbox_wh=(0.01, 0.01),
    ),
    semi_test_cfg=dict(predict_on='teacher'),
)
val_cfg = dict(_delete_=True, type='TeacherStudentValLoop')
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root=root))
val_evaluator = dict(metric='bbox', classwise=True, ann_file=root + 'annotations/instances_val.json')
branches = ['sup', 'unsup_teacher', 'unsup_student']
keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction', 'homography_matrix')
view = [dict(type='Resize', scale=(96, 96)), dict(type='PackDetInputs', meta_keys=keys)]
labelled = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
labelled += [dict(type='MultiBranch', branch_field=branches, sup=view)]
unlabelled = [dict(type='LoadImageFromFile'), dict(type='LoadEmptyAnnotations')]
unlabelled += [dict(type='MultiBranch', branch_field=branches, unsup_teacher=view, unsup_student=view)]
data = dict(
    type='CocoDataset', data_root=root, metainfo=_base_.metainfo, data_prefix=dict(img='train/'),
    ann_file='annotations/instances_train.json',
)
train_dataloader = dict(
    _delete_=True, batch_size=2, num_workers=0, persistent_workers=False,
    sampler=dict(type='GroupMultiSourceSampler', batch_size=2, source_ratio=[1, 1]),
    dataset=dict(type='ConcatDataset', datasets=[dict(data, pipeline=labelled), dict(data, pipeline=unlabelled)]),
)
train_cfg = dict(_delete_=True, type='ResumableIterLoop', max_iters=2, val_interval=2)
param_scheduler = []
custom_hooks = [dict(type='SafetyHooks'), dict(type='MeanTeacherHook')]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=2, save_best=['teacher/coco/bbox_mAP']))
log_processor = dict(by_epoch=False)
"""


def written(tmp_path, root, text):
    config = tmp_path / 'several.py'
    config.write_text(f"_base_ = ['{CONFIGS / 'mask_rcnn_fishnet_demo.py'}']\nroot = '{root}/'\n{text}")
    return config


class TestMultiDatasetsEvaluator:
    def metric(self, root, split, **kwargs):
        return OfficialCocoMetric(str(root / 'annotations' / f'instances_{split}.json'), ['bbox', 'segm'], **kwargs)

    def samples(self, root, split):
        """Predictions that are worse the higher the number of the image."""
        truth = load_annotations(root / 'annotations' / f'instances_{split}.json')
        for image in truth.imgs:
            yield detections(truth, image, np.random.default_rng(image), empty=image % 3 == 0, copies=2)

    def alone(self, root, split):
        metric = self.metric(root, split)
        metric.dataset_meta = dict(classes=NAMES)
        metric.process({}, list(self.samples(root, split)))
        return metric.evaluate(len(metric.results))

    def test_each_data_set_has_the_figures_of_itself(self, demo_data):
        parts = [
            CocoDataset(
                ann_file=str(demo_data / 'annotations' / f'instances_{split}.json'), data_prefix=dict(img=''),
                metainfo=dict(classes=NAMES), test_mode=True,
            )
            for split in ('train', 'val')
        ]  # fmt: skip
        both = ConcatDataset(parts)
        evaluator = MultiDatasetsEvaluator([self.metric(demo_data, s) for s in ('train', 'val')], ['day', 'night'])
        evaluator.dataset_meta = both.metainfo
        for split in ('train', 'val'):
            evaluator.process(list(self.samples(demo_data, split)))
        rows = APReport().measured(evaluator.evaluate(len(both)), 'x')
        expected = [
            (f'{row.kind}, {name}', row.figures)
            for name, split in (('day', 'train'), ('night', 'val'))
            for row in APReport().measured(self.alone(demo_data, split), 'x')
        ]
        assert [(row.kind, row.figures) for row in rows] == expected
        assert rows[0].figures['AP'] != rows[2].figures['AP'] and all(0.1 < row.figures['AP'] < 1 for row in rows)


def weights_of(config, path):
    import torch
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    torch.save({'state_dict': MODELS.build(config.model).state_dict(), 'meta': {}}, path)
    return path


def test_two_data_sets_in_a_test(demo_data, demo_config, tmp_path, call_tool):
    """With the switch for published rows in the config, beside SafetyHooks."""
    switch = "default_hooks = dict(ap_report=dict(type='APReport', published=True))\n"
    config = written(tmp_path, demo_data, TWO_DATA_SETS + switch)
    weights = weights_of(demo_config, tmp_path / 'demo.pth')
    out = tmp_path / 'out.pkl'
    done = call_tool('tools/test.py', config, weights, '--classwise', '--work-dir', tmp_path / 'run', '--out', out)
    assert done.returncode == 0, done.stderr[-2000:]
    files = [demo_data / 'annotations' / f'instances_{split}.json' for split in ('train', 'val')]
    assert len(pickle.loads(out.read_bytes())) == sum(len(load_annotations(file).imgs) for file in files)
    record = json.loads((tmp_path / 'run' / 'ap_test.json').read_text())
    assert [row['type'] for row in record['measured']] == ['bbox, day', 'segm, day', 'bbox, night', 'segm, night']
    assert record['data'] == 'COCO val2017' and len(record['published']) == 8
    day, night = json.loads((tmp_path / 'run' / 'ap_by_class_test.json').read_text())
    assert day['title'].endswith(', day') and night['title'].endswith(', night')
    assert {path.name for path in (tmp_path / 'run').glob('*.png')} == {
        'ap_by_class_test_day.png', 'ap_by_class_test_night.png',
    }  # fmt: skip
    assert sum(row['objects'] for row in night['rows']) > sum(row['objects'] for row in day['rows']) > 0


@pytest.mark.long
def test_a_concatenated_data_set_with_one_metric(demo_data, demo_config, tmp_path, call_tool):
    """One row, of all parts; the metric's annotation file has the images of both."""
    files = [json.loads((demo_data / 'annotations' / f'instances_{s}.json').read_text()) for s in ('train', 'val')]
    for number, content in enumerate(files):
        content['images'] = [dict(image, id=100 * number + image['id']) for image in content['images']]
        for annotation in content['annotations']:
            annotation.update(id=1000 * number + annotation['id'], image_id=100 * number + annotation['image_id'])
        (tmp_path / f'{number}.json').write_text(json.dumps(content))
    both = {key: files[0][key] + files[1][key] for key in ('images', 'annotations')}
    (tmp_path / 'both.json').write_text(json.dumps({**files[0], **both}))
    place = f"'{tmp_path}/' + dict(train='0', val='1')[split] + '.json'"
    text = TWO_DATA_SETS.replace("f'annotations/instances_{split}.json', data", f'{place}, data')
    one = f"test_evaluator = dict(_delete_=True, type='OfficialCocoMetric', ann_file='{tmp_path}/both.json')\n"
    config = written(tmp_path, demo_data, text[: text.index('test_evaluator')] + one)
    weights = weights_of(demo_config, tmp_path / 'demo.pth')
    done = call_tool('tools/test.py', config, weights, '--classwise', '--work-dir', tmp_path / 'run')
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads((tmp_path / 'run' / 'ap_test.json').read_text())
    assert [row['type'] for row in record['measured']] == ['bbox']
    (table,) = json.loads((tmp_path / 'run' / 'ap_by_class_test.json').read_text())
    assert sum(row['objects'] for row in table['rows']) == sum(not a['iscrowd'] for a in both['annotations'])
    assert {*table['rows'][0]} == {'class', 'objects', 'bbox AP'} and 'AP by class' in done.stdout


@pytest.mark.long
def test_teacher_and_student_in_a_training(demo_data, tmp_path, run_tool):
    config = written(tmp_path, demo_data, TEACHER_AND_STUDENT)
    done = run_tool('tools/train.py', config, '--work-dir', tmp_path / 'run')
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads((tmp_path / 'run' / 'ap_val.json').read_text())
    rows = [(row['label'], row['type']) for row in record['measured']]
    assert rows == [('iteration 2', 'bbox, teacher'), ('iteration 2', 'bbox, student')]
    tables = json.loads((tmp_path / 'run' / 'ap_by_class_val.json').read_text())
    assert [table['title'].rpartition(', ')[2] for table in tables] == ['teacher', 'student']
    (best,) = (tmp_path / 'run').glob('best_teacher_coco_bbox_mAP*.pth')


@pytest.mark.long
def test_save_best_on_a_size_without_objects(demo_data, tmp_path, run_tool):
    """The run ends well and has no best checkpoint, since nothing was measured."""
    key = 'coco/bbox_mAP_l'
    options = [*demo_options(demo_data), 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1']
    options += [f'default_hooks.checkpoint.save_best={key}']
    done = run_tool('tools/train.py', 'configs/mask_rcnn_fishnet_demo.py', '--work-dir', tmp_path, '--cfg-options',
                    *options)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (log,) = tmp_path.glob('*/vis_data/scalars.json')
    (line,) = [line for line in map(json.loads, log.read_text().splitlines()) if key in line]
    assert np.isnan(line[key]) and -1 not in line.values()
    assert not list(tmp_path.glob('best_*'))
