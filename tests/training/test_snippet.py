"""README's lines in a stock MMDetection config: it trains, and every reader reads its checkpoint.

MMDetection's own scripts run in processes of their own. A seeded file stands in for the download of released weights.
"""

import json
import re
from pathlib import Path

import mmdet
import numpy as np
import pytest
import torch
from conftest import REPO
from seeded import seeded_tensor
from weight_cases import as_downloaded, in_naming

from fishnet_mmdet import FishNetClassifier
from fishnet_mmdet.network.blocks import Bottleneck
from fishnet_mmdet.weights.catalogue import CATALOGUE
from fishnet_mmdet.weights.namings import OFFICIAL

MMDET_TOOLS = Path(mmdet.__file__).parent / '.mim' / 'tools'
README = (REPO / 'README.md').read_text()
SECTION = README.partition('## Use it in any MMDetection config')[2].partition('\n## ')[0]
(PRETRAINED,) = re.findall(r'```python\n(.*?)```', SECTION, flags=re.DOTALL)
FIRST, LAST, NECK = re.search(r'from `(\w+)` to `(\w+)`,\s+and add `(.*)` to the neck', SECTION).groups()
SCRATCH = re.sub(rf' *{FIRST}=.*\n *{LAST}=.*?\n', '', PRETRAINED, flags=re.DOTALL)
SCRATCH = re.sub(r'(neck=dict\(.*)\),\n', rf'\1, {NECK}),\n', SCRATCH)
SNIPPETS = dict(pretrained=PRETRAINED, scratch=SCRATCH)

SMALL = """
_base_ = './with_fishnet.py'
classes = dict(classes=('disc', 'box', 'triangle'))
load = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(96, 96), keep_ratio=True)]
boxes = dict(type='LoadAnnotations', with_bbox=True)
keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
data = dict(metainfo=classes, data_root='{data}/')
model = dict(
    rpn_head=dict(anchor_generator=dict(scales=[4])),
    roi_head=dict(bbox_head=dict(fc_out_channels=64, num_classes=3)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=100, max_per_img=50), rcnn=dict(sampler=dict(num=32))),
    test_cfg=dict(rpn=dict(nms_pre=100, max_per_img=50)),
)
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        filter_cfg=dict(min_size=8),
        indices={images},
        pipeline=[*load, boxes, dict(type='PackDetInputs')],
        **data,
    ),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        pipeline=[*load, boxes, dict(type='PackDetInputs', meta_keys=keys)],
        **data,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='{data}/annotations/instances_val.json')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs={epochs}, val_interval=1000)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval={epochs}))
randomness = dict(seed=0)
"""
"""Data, classes and sizes for the config that has README's lines: images of 96 x 96, a narrow box head."""

WITHOUT_WARM_UP = """
param_scheduler = []
optim_wrapper = dict(optimizer=dict(lr=0.005))
"""


def write_config(folder, snippet, data, images, epochs, more=''):
    stock = "_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'\n"
    (folder / 'with_fishnet.py').write_text(stock + snippet)
    text = SMALL + more
    for name, value in dict(data=data, images=images, epochs=epochs).items():
        text = text.replace(f'{{{name}}}', str(value))
    (folder / 'small.py').write_text(text)
    return folder / 'small.py'


@pytest.fixture(scope='module')
def torch_home(tmp_path_factory):
    """A cache that holds what the download would. As in a trained network, BN has seen images and branches are weak."""
    torch.manual_seed(0)
    net = FishNetClassifier('fishnet150')
    state = {key: seeded_tensor(key, tuple(value.shape)).to(value.dtype) for key, value in net.state_dict().items()}
    net.load_state_dict(state)
    for module in net.modules():
        if isinstance(module, Bottleneck):
            module.expand.conv.weight.data /= 8
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        net.train()(torch.randn(4, 3, 96, 96))
    home = tmp_path_factory.mktemp('torch')
    (home / 'hub' / 'checkpoints').mkdir(parents=True)
    file = CATALOGUE['fishnet150-imagenet'].file
    as_downloaded(in_naming(net.state_dict(), OFFICIAL), home / 'hub' / 'checkpoints' / file)
    return home


def losses(work_dir):
    """Loss of every iteration, from the JSON log of MMEngine."""
    (log,) = work_dir.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return [row['loss'] for row in rows if 'loss' in row]


def ok(done):
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope='module', params=SNIPPETS)
def stock_run(request, demo_data, run_tool, torch_home, tmp_path_factory):
    """A run by MMDetection's own `train.py`, of twelve iterations on two images: config, checkpoint, log."""
    folder = tmp_path_factory.mktemp(request.param)
    config = write_config(folder, SNIPPETS[request.param], demo_data, 2, 12, WITHOUT_WARM_UP)
    environment = dict(TORCH_HOME=str(torch_home))
    log = ok(run_tool(MMDET_TOOLS / 'train.py', config, '--work-dir', folder / 'run', cwd=folder, env=environment))
    return config, folder / 'run' / 'epoch_12.pth', log


class TestStockConfig:
    def test_learns(self, stock_run):
        _, checkpoint, log = stock_run
        curve = losses(checkpoint.parent)
        assert len(curve) == 12 and np.isfinite(curve).all()
        assert np.mean(curve[-4:]) < np.mean(curve[:4])
        assert 'SafetyHooks adds FixedNormGuard' in log and 'may diverge' not in log

    def test_every_reader_reads_the_checkpoint(self, stock_run, run_tool, demo_data):
        config, checkpoint, _ = stock_run
        folder = checkpoint.parent
        assert torch.serialization.get_unsafe_globals_in_checkpoint(checkpoint) == []
        theirs = ok(run_tool(MMDET_TOOLS / 'test.py', config, checkpoint, '--work-dir', folder / 'test', cwd=folder))
        flags = ['--work-dir', folder / 'ours', '--console', 'mmengine']
        ours = ok(run_tool('tools/test.py', config, checkpoint, *flags, cwd=folder))
        for log in (theirs, ours):
            assert 'Load checkpoint from' in log and 'Epoch(test)' in log
        picture = next((demo_data / 'val').glob('*.jpg'))
        script = folder / 'infer.py'
        script.write_text(
            'from mmdet.apis import DetInferencer\n'
            f"found = DetInferencer('{config}', '{checkpoint}', device='cpu')('{picture}')\n"
            "print(sorted(found['predictions'][0]))\n"
        )
        assert "'bboxes', 'labels', 'scores'" in ok(run_tool(script, cwd=folder))

    @pytest.mark.parametrize('stock_run', ['scratch'], indirect=True)
    @pytest.mark.parametrize('tool', [MMDET_TOOLS / 'train.py', 'tools/train.py'], ids=['theirs', 'ours'])
    def test_resumes(self, stock_run, run_tool, tmp_path, tool):
        config, checkpoint, _ = stock_run
        (tmp_path / checkpoint.name).symlink_to(checkpoint)
        (tmp_path / 'last_checkpoint').write_text(str(tmp_path / checkpoint.name))
        flags = ['--resume', '--work-dir', tmp_path, '--cfg-options', 'train_cfg.max_epochs=14']
        ok(run_tool(tool, config, *flags, cwd=tmp_path))
        assert len(losses(tmp_path)) == 2
        (log,) = tmp_path.glob('*/*.log')
        assert 'resumed epoch: 12, iter: 12' in log.read_text()


@pytest.mark.long
@pytest.mark.parametrize('name', SNIPPETS)
def test_two_hundred_iterations_of_the_stock_schedule(name, demo_data, run_tool, torch_home, tmp_path):
    """With MMDetection's own warm-up and learning rate, which is meant for a batch of 16."""
    config = write_config(tmp_path, SNIPPETS[name], demo_data, 8, 50)
    flags = ['--work-dir', tmp_path / 'run']
    ok(run_tool(MMDET_TOOLS / 'train.py', config, *flags, env=dict(TORCH_HOME=str(torch_home)), timeout=1800))
    curve = losses(tmp_path / 'run')
    assert len(curve) == 200 and np.isfinite(curve).all()
    assert np.mean(curve[-20:]) < 0.9 * np.mean(curve[:20])
