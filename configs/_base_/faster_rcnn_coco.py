"""Faster R-CNN + FPN of mmdet on COCO 2017, every BN fixed, under the paper's recipe. The backbone is ResNet-50."""

_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    './recipe.py',
]
# To read COCO from another folder: COCO_ROOT=/path/to/coco tools/train.py ...
data_root = '{{$COCO_ROOT:data/coco}}/'

model = dict(backbone=dict(frozen_stages=0, norm_cfg=dict(requires_grad=False)))

train_dataloader = dict(batch_size=1, dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(type='OfficialCocoMetric', ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator
