"""Work dirs as MMEngine leaves them, written without a training: lines of logs, configs, pictures."""

import json
import math

CONFIG = """
train_cfg = dict(max_epochs=4, type='EpochBasedTrainLoop', val_interval=1)
model = dict(backbone=dict(depth=50, frozen_stages=1, type='ResNet'), type='mmdet.FasterRCNN')
optim_wrapper = dict(optimizer=dict(lr=0.02, type='SGD'), type='OptimWrapper')
param_scheduler = [dict(begin=0, end=500, type='LinearLR'), dict(milestones=[8, 11], type='MultiStepLR')]
val_dataloader = dict(dataset=dict(ann_file='annotations/val.json', data_root='data/coco/', type='CocoDataset'))
randomness = dict(seed=0)
work_dir = './work_dirs/a'
"""
"""A config as `Config.dump` writes it."""

OTHER = CONFIG.replace("depth=50, frozen_stages=1, type='ResNet'", "arch='fishnet99', type='FishNet'")
"""The same with another backbone."""

OTHER_RATE = CONFIG.replace('lr=0.02', 'lr=0.01')
"""The same with another learning rate."""

CLASSES = ('cat', 'dog', 'traffic light')


def seed(number, config=CONFIG):
    """A config with another seed."""
    return config.replace('dict(seed=0)', f'dict(seed={number})')


def training(step, epoch_length=20, **figures):
    """A line of an iteration, under the names of mmdet."""
    loss = 3 / (1 + step / 10)
    line = dict(
        lr=0.02, data_time=0.01, loss=loss, loss_cls=loss / 2, loss_bbox=loss / 2, acc=90.0, grad_norm=loss * 4,
        time=0.25, epoch=(step - 1) // epoch_length + 1, iter=step, memory=3072, step=step,
    )  # fmt: skip
    return {key: value for key, value in {**line, **figures}.items() if value is not None}


def validation(step, ap, **figures):
    """A line of a validation, under the names of mmdet's CocoMetric; there are no small objects."""
    names = {'mAP': ap, 'mAP_50': 1.5 * ap, 'mAP_75': ap, 'mAP_s': -1.0, 'mAP_m': ap, 'mAP_l': ap}
    return {f'coco/bbox_{name}': value for name, value in names.items()} | dict(time=0.1, step=step) | figures


def epochs(first, last, best=0.4, epoch_length=20, interval=5):
    """The lines of some epochs, each with a validation; AP comes near `best`."""
    lines = []
    for epoch in range(first, last + 1):
        begin = (epoch - 1) * epoch_length
        lines += [training(step, epoch_length) for step in range(begin + interval, begin + epoch_length + 1, interval)]
        lines.append(validation(epoch, best * (1 - math.exp(-epoch))))
    return lines


def start(work_dir, lines, stamp='20260101_000000', config=CONFIG, tail=''):
    """Writes one start of a run; `tail` is the end of a file that was cut off."""
    folder = work_dir / stamp / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text(''.join(json.dumps(line) + '\n' for line in lines) + tail)
    if config is not None:
        (folder / 'config.py').write_text(config)
    return work_dir


def with_classes(lines, offset=0.0):
    """Adds an AP of each class to the validations; one class has none."""
    for line in lines:
        if 'coco/bbox_mAP' in line:
            line |= {f'coco/{name}_precision': 0.1 * i + offset for i, name in enumerate(CLASSES)}
            line['coco/dog_precision'] = float('nan')
    return lines


def write_two(folder):
    """Two runs with classes that differ in their learning rate; the first is better."""
    a = start(folder / 'a_run', with_classes(epochs(1, 4, 0.4, interval=1), 0.2), config=OTHER_RATE)
    b = start(folder / 'b_run', with_classes(epochs(1, 4, 0.3, interval=1)))
    return a, b
