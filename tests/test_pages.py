"""The code on the pages that a user reads first runs as it is written; what does not says why, in a comment."""

import json
import re
import runpy
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import cv2
import infer_case
import pytest
import torch
from conftest import REPO
from infer_case import picture, write_video
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from own_data import coco
from page_blocks import MARK, blocks_of

from fishnet_mmdet.commands import run_command

PAGES = ['README.md', 'docs/getting-started.md', 'docs/own-data.md', 'docs/port.md', 'docs/inference.md']
BLOCKS = {page: list(blocks_of((REPO / page).read_text())) for page in PAGES}

WORDS = {'CONFIG': 'mask_rcnn_fishnet_demo', 'CHECKPOINT': 'epoch_10.pth', 'DIR': 'data/demo'}
"""What stands here for the words in capitals, which a reader replaces."""

SHORT = [
    '--cfg-options', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=9', 'default_hooks.checkpoint.interval=-1',
    'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False',
    'model.roi_head.bbox_head.fc_out_channels=64', 'default_hooks.logger.interval=1',
]  # fmt: skip
"""Added to `train`: one epoch, and nothing after it."""

BASE = "_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'\n"
"""Above lines for a config that name no config to build on."""


@pytest.fixture
def folder(request, tmp_path, demo_data, monkeypatch):
    """An empty folder with the files that the pages name."""
    infer_case.write_checkpoint(tmp_path / 'epoch_10.pth')
    names = ['1.jpg', '2.jpg']
    (tmp_path / 'photos').mkdir()
    for path in (tmp_path / 'photo.jpg', *(tmp_path / 'photos' / name for name in names)):
        cv2.imwrite(str(path), picture())
    if 'own-data' in request.node.name:
        (tmp_path / 'photos/annotations.json').write_text(json.dumps(coco(names, size=(120, 96))))
    write_video(tmp_path / 'clip.mp4', [picture(0), picture(1)])
    shutil.copytree(demo_data, tmp_path / 'data/demo')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_line(words, page, run_tool):
    """Runs a line of a shell."""
    words = [WORDS.get(word, word) for word in words]
    if page == 'docs/port.md':
        words = ['mmdet::retinanet/retinanet_r50_fpn_1x_coco.py' if w == WORDS['CONFIG'] else w for w in words]
    if words[:2] == ['python', '-m']:
        with patch.object(sys, 'argv', words[2:]), pytest.raises(SystemExit) as end:
            runpy.run_module(words[2], run_name='__main__')
        assert not end.value.code, f'{page}: {" ".join(words)}'
        return
    program, command, *arguments = words
    assert program == 'fishnet-mmdet', f'{page}: {" ".join(words)} is not run here: say why in a comment'
    if command == 'train':
        # In a process of its own: MMEngine keeps one visualizer for each, which writes the log.
        done = run_tool('tools/train.py', *arguments, *SHORT, cwd=Path.cwd())
        assert done.returncode == 0, done.stdout + done.stderr
    else:
        assert run_command(command, arguments) == 0, f'{page}: {" ".join(words)}'


def build_config(text, folder):
    """Builds the model of lines for a config."""
    path = folder / 'lines.py'
    path.write_text(text if '_base_' in text else BASE + text)
    register_all_modules()
    with torch.device('meta'):
        model = MODELS.build(Config.fromfile(path).model)
    assert type(model.backbone).__name__ == 'FishNet'


def check_inference(session, folder):
    found = session['found']
    assert found.boxes.shape == (len(found), 4) and found.masks.shape == (len(found), 96, 120)
    assert session['outcome'].images == 4 and session['outcome'].passed_over == []
    assert session['result']['predictions'][0]['bboxes']


def check_loss(session, folder):
    (log,) = folder.glob('work_dirs/my/*/vis_data/scalars.json')
    row = json.loads(log.read_text().splitlines()[0])
    assert 0 < row['loss'] < 100 and row['loss_mask'] > 0


AFTER = {'docs/inference.md': check_inference, 'docs/own-data.md': check_loss}
"""What is seen when a page has run."""


@pytest.mark.parametrize('page', PAGES)
def test_runs_as_it_is_written(page, folder, run_tool):
    """All blocks in order; those of Python as in one session."""
    session = {}
    for block in filter(lambda block: block.runs, BLOCKS[page]):
        if block.language == 'sh':
            for words in block.commands():
                run_line(words, page, run_tool)
        elif re.search(r'^model = dict', block.text, re.MULTILINE):
            build_config(block.text, folder)
        elif find_spec('supervision') or 'to_supervision' not in block.text:
            exec(compile(block.text, page, 'exec'), session)
    AFTER.get(page, lambda *_: None)(session, folder)


@pytest.mark.parametrize('page', PAGES)
def test_every_mark_belongs_to_a_block_that_is_code(page):
    marks = MARK.findall((REPO / page).read_text())
    assert [(words, reason) for words, reason in marks] == [
        (' '.join(block.left_out), block.reason) for block in BLOCKS[page] if block.left_out is not None
    ]
    assert {block.language for block in BLOCKS[page]} <= {'sh', 'python'}
    for block in BLOCKS[page]:
        lines = block.text.split()
        assert all(word in lines for word in block.left_out or ()), f'{page}: {block.reason}'
