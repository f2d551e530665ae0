"""Classifiers and segmentors train in an environment without mmdet; what they leave behind works in any other."""

import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from conftest import CONFIGS, REPO, demo_options
from pixel_data import small_config, write_ade20k

from fishnet_mmdet.lab.demo_data.demo import ClassesSpec, make_demo_classes

CLASSIFIER = CONFIGS / 'classifier_fishnet_demo.py'
DETECTOR = CONFIGS / 'mask_rcnn_fishnet_demo_pretrained.py'


def run_without_mmdet(*commands, **more):
    """Runs tools, one after another, in a process in which `import mmdet` fails."""
    commands = [[str(REPO / tool), *map(str, arguments)] for tool, *arguments in commands]
    command = [sys.executable, str(REPO / 'tests' / 'without_mmdet.py'), json.dumps(commands)]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', **more}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)


def options(root):
    """--cfg-options that point the demo classifier to a small set."""
    splits = ('train', 'val', 'test')
    quiet = [f'{s}_dataloader.{o}' for s in splits for o in ('num_workers=0', 'persistent_workers=False')]
    return [*quiet, *(f'{split}_dataloader.dataset.data_root={root}/' for split in splits)]


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Folders of a classifier of two epochs and a segmentor of two iterations, with all that training leaves behind."""
    root = tmp_path_factory.mktemp('without_mmdet')
    made = SimpleNamespace(
        classes=root / 'classes',
        ade20k=write_ade20k(root / 'ade20k'),
        classifier=root / 'classifier',
        segmentor=root / 'segmentor',
        semantic=small_config(root, 'semantic_fpn_fishnet150_ade20k'),
    )
    make_demo_classes(made.classes, ClassesSpec(train=36, val=18, side=64))
    settings = [*options(made.classes), 'train_cfg.max_epochs=2', 'train_cfg.val_interval=1']
    done = run_without_mmdet(
        ['tools/train.py', CLASSIFIER, '--work-dir', made.classifier, '--cfg-options', *settings],
        ['tools/train.py', made.semantic, '--work-dir', made.segmentor],
        ADE20K_ROOT=str(made.ade20k),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return made


class TestClassifier:
    def test_training_leaves_tables_and_a_safe_checkpoint(self, trained):
        record = json.loads((trained.classifier / 'accuracy_val.json').read_text())
        assert [row['label'] for row in record['measured']] == ['epoch 1', 'epoch 2']
        assert all(0 <= row['top-1'] <= row['top-5'] <= 1 for row in record['measured'])
        assert not list(trained.classifier.glob('*ap_val*')) and not list(trained.classifier.glob('miou_val*'))
        checkpoint = torch.load(trained.classifier / 'epoch_2.pth', weights_only=True)
        assert {key.split('.')[0] for key in checkpoint['state_dict']} == {'backbone', 'neck', 'head'}

    def test_the_test_tool_repeats_the_last_validation(self, trained, tmp_path, run_tool):
        arguments = [CLASSIFIER, trained.classifier / 'epoch_2.pth', '--work-dir', tmp_path]
        arguments += [
            '--out',
            tmp_path / 'scores.pkl',
            '--show-dir',
            tmp_path / 'pictures',
            '--show',
            '--wait-time',
            0.01,
        ]
        done = run_tool('tools/test.py', *arguments, '--cfg-options', *options(trained.classes))
        assert done.returncode == 0, done.stderr[-3000:]
        tested = json.loads((tmp_path / 'accuracy_test.json').read_text())['measured']
        validated = json.loads((trained.classifier / 'accuracy_val.json').read_text())['measured']
        assert tested[0]['top-1'] == validated[-1]['top-1']
        assert (tmp_path / 'scores.pkl').is_file() and list(tmp_path.rglob('*.png'))

    def test_a_checkpoint_that_does_not_fit_is_refused(self, trained, tmp_path, run_tool):
        checkpoint = torch.load(trained.classifier / 'epoch_2.pth', weights_only=True)
        checkpoint['state_dict'].pop('head.fc.bias')
        torch.save(checkpoint, tmp_path / 'half.pth')
        settings = ['--cfg-options', *options(trained.classes)]
        done = run_tool('tools/test.py', CLASSIFIER, tmp_path / 'half.pth', *settings, cwd=tmp_path)
        assert done.returncode == 1 and 'does not fit the ImageClassifier: 1 missing' in done.stderr
        assert 'head.fc.bias' in done.stderr and 'Traceback' not in done.stderr

    def test_the_chain(self, trained, demo_data, tmp_path, run_tool):
        """The classifier's checkpoint into a detector with every BN fixed: it trains, and no BN moves."""
        settings = [*demo_options(demo_data), 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1']
        settings += [f'model.backbone.init_cfg.checkpoint={trained.classifier / "epoch_2.pth"}']
        done = run_tool('tools/train.py', DETECTOR, '--work-dir', tmp_path, '--cfg-options', *settings)
        assert done.returncode == 0, done.stderr[-3000:]
        assert re.search(r'tensors loaded; left out: head.fc, neck.norm', done.stdout + done.stderr)
        before = torch.load(trained.classifier / 'epoch_2.pth', weights_only=True)['state_dict']
        after = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)['state_dict']
        backbone = [key for key in after if key.startswith('backbone.')]
        moved = {key for key in backbone if not torch.equal(before[key], after[key])}
        assert moved and all(torch.isfinite(after[key]).all() for key in backbone)
        assert all('norm' not in key and 'stem' not in key for key in moved)


class TestSegmentor:
    def test_training_leaves_a_table_and_a_safe_checkpoint(self, trained):
        (row,) = json.loads((trained.segmentor / 'miou_val.json').read_text())['measured']
        assert row['label'] == 'iteration 2' and 0 <= row['mIoU'] <= 1
        assert torch.load(trained.segmentor / 'iter_2.pth', weights_only=True)['meta']['iter'] == 2

    def test_the_test_tool_repeats_the_validation(self, trained, tmp_path, run_tool):
        flags = ['--work-dir', tmp_path, '--show-dir', 'pictures', '--out', tmp_path / 'maps.pkl']
        environment = {'ADE20K_ROOT': str(trained.ade20k)}
        done = run_tool('tools/test.py', trained.semantic, trained.segmentor / 'iter_2.pth', *flags, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        (tested,) = json.loads((tmp_path / 'miou_test.json').read_text())['measured']
        (validated,) = json.loads((trained.segmentor / 'miou_val.json').read_text())['measured']
        assert tested['mIoU'] == validated['mIoU'] and tested['aAcc'] == validated['aAcc']
        assert len(list((tmp_path / 'pictures/vis_data/vis_image').glob('*.png'))) == 2
        assert (tmp_path / 'maps.pkl').is_file()
