"""Every block of code on every page runs as it is written; what does not says why, in a comment above it."""

import json
import re
import shlex
import subprocess
import sys
from unittest.mock import patch

import pytest
import torch
from conftest import REPO
from page_blocks import FENCE, LANGUAGES, MARK, OUTPUT, blocks_of
from page_runner import PageRunner
from page_stand_ins import StandIns, spoilt

from fishnet_mmdet import FishNet
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.commands import COMMANDS
from fishnet_mmdet.network.arch import ARCHS

PAGES = sorted(str(path.relative_to(REPO)) for path in [*REPO.glob('*.md'), *REPO.glob('docs/**/*.md')])
TEXTS = {page: (REPO / page).read_text() for page in PAGES}
BLOCKS = {page: list(blocks_of(text)) for page, text in TEXTS.items()}


def runs(page, long):
    """Whether a page has lines to run."""
    blocks = [block for block in BLOCKS[page] if block.language not in OUTPUT]
    return any(block.has_long_lines if long else block.lines(long) for block in blocks)


@pytest.fixture(scope='session')
def stand_ins(tmp_path_factory, demo_data):
    return StandIns(tmp_path_factory.mktemp('stand_ins'), demo_data, REPO)


@pytest.fixture
def run_page(stand_ins, tmp_path, run_tool, monkeypatch):
    """Runs the blocks of a page in an empty folder with the files that it names; returns the runner."""

    def run(page, long=False):
        monkeypatch.setenv('TORCH_HOME', str(stand_ins.store / 'torch'))
        lines = [line for block in BLOCKS[page] if block.language not in OUTPUT for line in block.lines(long)]
        stand_ins.write('\n'.join(lines), tmp_path)
        monkeypatch.chdir(tmp_path)
        runner = PageRunner(page, run_tool, long)
        runner.run(BLOCKS[page])
        AFTER.get(page, lambda *_: None)(runner, tmp_path)
        return runner

    before = set(ARCHS)
    yield run
    for name in set(ARCHS) - before:
        del ARCHS[name]


# What is seen when a page has run


def after_contributing(runner, folder):
    with torch.device('meta'):
        assert FishNet('fishnet75').arch.tail == (1, 2, 4)


def after_inference(runner, folder):
    session = runner.session
    found = session['found']
    assert found.boxes.shape == (len(found), 4) and found.masks.shape == (len(found), 96, 120)
    assert session['outcome'].images == 4 and session['outcome'].passed_over == []
    assert session['result']['predictions'][0]['bboxes']


def after_own_data(runner, folder):
    (log,) = folder.glob('work_dirs/my/*/vis_data/scalars.json')
    row = json.loads(log.read_text().splitlines()[0])
    assert 0 < row['loss'] < 100 and row['loss_mask'] > 0
    # The page shows what `new` printed about other data.
    assert labels(runner.printed) >= labels(output('docs/own-data.md', 'train: nuclei')) - {'anchors', 'image size'}


def after_data_checks(runner, folder):
    """The page shows the report of a set with two defects."""
    spoilt(folder / 'data/mine')
    config = folder / 'mine.py'
    data = "dict(dataset=dict(data_root='data/mine/'))"
    evaluator = "dict(ann_file='data/mine/annotations/instances_val.json')"
    lines = [f"_base_ = '{REPO}/configs/mask_rcnn_fishnet_demo.py'"]
    lines += [f'{split}_dataloader = {data}' for split in ('train', 'val', 'test')]
    lines += [f'{split}_evaluator = {evaluator}' for split in ('val', 'test')]
    config.write_text('\n'.join(lines))
    shown = PageRunner(runner.page, runner.run_tool)
    assert shown.start('fishnet-mmdet', 'check', str(config)) == 1
    assert output(runner.page, 'preflight: 2 errors').strip() in shown.printed.replace(str(folder), '/home/me')


def after_weights(runner, folder):
    """The page shows the line of a backbone that was loaded."""
    init_cfg = dict(type='Pretrained', checkpoint='fishnet150_ckpt.tar')
    with patch('fishnet_mmdet.weights.load.print_log') as log:
        FishNet('fishnet150', init_cfg=init_cfg).init_weights()
    assert output(runner.page, '892 tensors').strip() in [call.args[0] for call in log.call_args_list]


def after_tools(runner, folder):
    (names,) = re.findall(r"-W '(.*)' fishnet-mmdet", runner.printed.replace('$', ''), re.DOTALL)
    assert set(COMMANDS) == set(names.replace('\\n', ' ').split())


def after_plots(runner, folder):
    assert (folder / 'work_dirs/plot/index.html').is_file() and (folder / 'work_dirs/fishnet/plot/index.html').is_file()


def after_port_report(runner, folder):
    """All lines are there, so the command writes the page alone."""
    assert (folder / 'docs/port-report.md').read_text() == TEXTS[runner.page]


AFTER = {
    'CONTRIBUTING.md': after_contributing,
    'docs/data-checks.md': after_data_checks,
    'docs/inference.md': after_inference,
    'docs/own-data.md': after_own_data,
    'docs/plots.md': after_plots,
    'docs/port-report.md': after_port_report,
    'docs/tools.md': after_tools,
    'docs/weights.md': after_weights,
}


def output(page, words):
    """The only block of a page that shows what a command prints, and holds these words."""
    (text,) = [block.text for block in BLOCKS[page] if block.language in OUTPUT and words in block.text]
    return text


def labels(text):
    """What stands before the colons at the beginning of lines."""
    return set(re.findall(r'^([a-z ]+): ', text, re.MULTILINE))


# The tests


@pytest.mark.parametrize('page', [page for page in PAGES if runs(page, long=False)])
def test_runs_as_it_is_written(page, run_page):
    """All blocks in order; those of Python as in one session."""
    run_page(page)


@pytest.mark.long
@pytest.mark.parametrize('page', [page for page in PAGES if runs(page, long=True)])
def test_what_takes_minutes_runs_too(page, run_page):
    run_page(page, long=True)


@pytest.mark.parametrize('page', PAGES)
def test_blocks_and_marks(page):
    """All blocks are found, in languages that are known; each mark belongs to a block with such a line."""
    fences = [line for line in TEXTS[page].splitlines() if line.lstrip().startswith('```')]
    assert len(fences) == 2 * len(BLOCKS[page]) and sum(bool(FENCE.match(line)) for line in fences) == len(fences)
    assert {block.language for block in BLOCKS[page]} <= LANGUAGES
    marks = [mark for block in BLOCKS[page] for mark in block.marks]
    assert len(marks) == len(MARK.findall(re.sub(r'`<!--.*?-->`', '', TEXTS[page])))
    for block in BLOCKS[page]:
        for mark in block.marks:
            for word in mark.words:
                assert word in block.text.split(), f'{page}: {word}: {mark.reason}'
            if mark.file:
                assert page in (REPO / mark.file).read_text(), f'{mark.file} does not name {page}'


COMPARED = {('docs/own-data.md', 'train: nuclei'), ('docs/data-checks.md', 'preflight:'), ('docs/weights.md', '892')}


@pytest.mark.parametrize('page', PAGES)
def test_what_commands_print_is_compared_or_says_where_it_is_from(page):
    shown = [block for block in BLOCKS[page] if block.language in OUTPUT]
    for block in shown:
        assert block.marks or any(of == page and words in block.text for of, words in COMPARED), block.text


@pytest.mark.long
@pytest.mark.parametrize(
    'line', sorted({line for page in PAGES for line in re.findall(r'python -m pytest ([^\n`#]+)', TEXTS[page])})
)
def test_lines_of_pytest_choose_tests(line):
    """They are not run here, because `make test-long` runs these tests anyway."""
    command = [sys.executable, '-m', 'pytest', '-n0', '-q', '--collect-only', '-p', 'no:cacheprovider']
    done = subprocess.run([*command, *shlex.split(line)], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0 and '::' in done.stdout, done.stdout[-500:] + done.stderr


def test_a_wrong_block_is_noticed(tmp_path, run_tool, monkeypatch):
    """The runner itself: a command that fails, one that it does not know, lines that build nothing."""
    monkeypatch.chdir(tmp_path)
    for text in ('fishnet-mmdet eval a.json b.json', 'git status', 'fishnet-mmdet plot nowhere'):
        with pytest.raises(AssertionError):
            PageRunner('README.md', run_tool).run(blocks_of(f'```sh\n{text}\n```\n'))
    wrong = "backbone = dict(type='FishNet', arch='fishnet1')"
    with pytest.raises(ConfigError, match='is not a FishNet'):
        PageRunner('README.md', run_tool).run(blocks_of(f'```python\n{wrong}\n```\n'))
