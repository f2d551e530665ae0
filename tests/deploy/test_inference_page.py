"""The code of docs/inference.md runs as it is written."""

import re
import shlex
import shutil
from importlib.util import find_spec

import cv2
import infer_case
import pytest
from conftest import REPO
from infer_case import picture, write_video

from fishnet_mmdet.commands import run_command

PAGE = (REPO / 'docs' / 'inference.md').read_text()


def blocks(language):
    return re.findall(rf'^```{language}\n(.*?)^```$', PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope='module')
def files(tmp_path_factory, demo_data):
    """The files that the page names."""
    root = tmp_path_factory.mktemp('page')
    infer_case.write_checkpoint(root / 'epoch_10.pth')
    (root / 'photos').mkdir()
    for path in (root / 'photo.jpg', root / 'photos/1.jpg', root / 'photos/2.jpg'):
        cv2.imwrite(str(path), picture())
    write_video(root / 'clip.mp4', [picture(0), picture(1)])
    shutil.copytree(demo_data, root / 'data/demo')
    return root


@pytest.fixture(autouse=True)
def there(files, monkeypatch):
    monkeypatch.chdir(files)


def test_commands():
    """In order: `eval` reads what `infer` wrote."""
    lines = [line for block in blocks('sh') for line in block.splitlines()]
    assert len(lines) == 5
    for line in lines:
        program, command, *arguments = shlex.split(line)
        assert program == 'fishnet-mmdet' and run_command(command, arguments) == 0


def test_python():
    """All blocks in order, as in one session."""
    session = {}
    for block in blocks('python'):
        if find_spec('supervision') or 'to_supervision' not in block:
            exec(compile(block, 'docs/inference.md', 'exec'), session)
    found = session['found']
    assert found.boxes.shape == (len(found), 4) and found.masks.shape == (len(found), 96, 120)
    assert session['outcome'].images == 4 and session['outcome'].passed_over == []
    assert session['result']['predictions'][0]['bboxes']
