"""What `train` and `test` show in a terminal, in a pipe and in the log file; in real processes."""

import json
import os
import re
import signal

import pytest
from conftest import CONFIGS, REPO, demo_options
from terminal import Terminal

from fishnet_mmdet.training.console.bar import TerminalConsole
from fishnet_mmdet.training.stopping import STOPPED

DEMO = CONFIGS / 'mask_rcnn_fishnet_demo.py'
TRAIN = REPO / 'tools/train.py'


def options(demo_data, epochs):
    return ['--cfg-options', *demo_options(demo_data), f'train_cfg.max_epochs={epochs}', 'train_cfg.val_interval=1']


def log_file(work_dir):
    (file,) = work_dir.glob('*/*.log')
    return file.read_text()


class TestTerminal:
    """A training of 80 columns that is stopped by Ctrl-C in its second epoch."""

    @pytest.fixture(scope='class')
    def stopped(self, demo_data, forker, tmp_path_factory):
        work_dir, terminal = tmp_path_factory.mktemp('bar') / 'run', Terminal(80)
        flags = ['--console', 'bar', '--work-dir', work_dir, *options(demo_data, 100)]
        pid = forker.start_script(TRAIN, DEMO, *flags, output=terminal.path, env=dict(TERM='xterm-256color'))
        terminal.wait_for(r'epoch 2/100.*[1-9]/4')
        os.killpg(pid, signal.SIGINT)
        (status,) = forker.wait_for([pid])
        terminal.close()
        return terminal, work_dir, status

    def test_rows_say_what_runs(self, stopped):
        lines = stopped[0].lines()
        for row in (
            r'config +.*mask_rcnn_fishnet_demo\.py',
            r'data +train: 8 images',
            r'classes +3: disc, box, triangle',
            r'network +MaskRCNN, FishNet \(an arch of its own\), 1\.71 M parameters',
            r'weights +random',
            r'schedule +100 epochs of 4 iterations, 8 images, batch 2',
            r'optimizer +AdamW, learning rate 0\.002; warm-up epochs 0 to 1',
            r'device +CPU, 1 thread, float32',
            r'log file +\S+\.log',
        ):
            assert any(re.match(row, line) for line in lines), f'{row}: {lines}'

    def test_they_fit_one_screen(self, stopped):
        text = stopped[0].text
        assert text[: text.index('epoch 1/100')].count('\n') < 40
        assert 'Config:' not in text and 'Hooks will be' not in text and 'loading annotations' not in text

    def test_the_bar_moves(self, stopped):
        bars = [line for line in stopped[0].lines() if line.startswith('epoch ')]
        assert any(re.match(r'epoch 1/100 +[━╸╺]+ +4/4 .*loss \d', bar) for bar in bars), bars
        assert any(re.match(r'epoch 2/100 .*box AP \d.* left$', bar) for bar in bars), bars
        assert any(line.startswith('validation ') and '4/4' in line for line in stopped[0].lines())

    def test_nothing_but_paths_is_wider_than_the_terminal(self, stopped):
        bars = [line for line in stopped[0].lines() if re.match('epoch |validation ', line)]
        assert bars and max(map(len, bars)) < 80
        wide = [line for line in stopped[0].lines() if len(line) > 80]
        assert all(re.fullmatch(r'[\w ]{12}\S+|\S+', line) for line in wide), wide

    def test_ctrl_c_saves_and_leaves_the_cursor(self, stopped):
        terminal, work_dir, status = stopped
        assert status == STOPPED and (work_dir / 'interrupted.pth').is_file()
        assert any(line.startswith('Stopping after this iteration') for line in terminal.lines())
        assert 'Asked to stop' in terminal.text
        hidden, shown = (terminal.text.rfind(f'\x1b[?25{letter}') for letter in 'lh')
        assert hidden <= shown
        # The bar is gone, and the prompt of the shell is in a line of its own.
        assert terminal.text.endswith(('\n', '\x1b[2K'))


class TestPipe:
    @pytest.fixture(scope='class')
    def piped(self, demo_data, run_tool, tmp_path_factory):
        work_dir = tmp_path_factory.mktemp('pipe') / 'run'
        done = run_tool('tools/train.py', DEMO, '--work-dir', work_dir, '--draw-val', 3, *options(demo_data, 1))
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout, work_dir

    def test_short_lines_without_control_characters(self, piped):
        shown, _ = piped
        assert not re.search(r'[\x00-\x09\x0b-\x1f]', shown)
        lines = [line for line in shown.splitlines() if 'epoch 1/1' in line]
        assert len(lines) == 4 and max(map(len, lines)) <= 120
        assert re.fullmatch(
            r'\d\d:\d\d:\d\d  epoch 1/1  2/4  loss \S+  rpn_cls .*  lr \S+ .* s/iter  0:\d\d left', lines[1]
        )
        assert re.search(r'validation after epoch 1: box AP \d', shown)
        assert re.search(r'trained in \d.*last checkpoint \S+epoch_1\.pth', shown)

    def test_the_log_file_has_everything(self, piped):
        log = log_file(piped[1])
        assert 'Config:\n' in log and "type='OfficialCocoMetric'" in log and 'System environment' in log
        assert 'Hooks will be executed' in log and 'loading annotations into memory' in log
        lines = re.findall(r'mmengine - INFO - Epoch\(train\) \[1\]\[\d/4\]  .*lr: .* loss: .* loss_mask: .*', log)
        assert len(lines) == 4
        assert 'Name of parameter - Initialization' in log

    def test_figures_for_other_tools_are_as_before(self, piped):
        (file,) = piped[1].glob('*/vis_data/scalars.json')
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        assert [row['iter'] for row in rows[:-1]] == [1, 2, 3, 4] and 'coco/segm_mAP' in rows[-1]

    def test_validation_was_drawn(self, piped):
        pictures = sorted(path.name for path in piped[1].glob('*/vis_data/vis_image/*.png'))
        assert len(pictures) == 2 and all(re.fullmatch(r'val_\d+_4\.png', name) for name in pictures)

    def test_a_test_shows_its_figures_only(self, piped, demo_data, run_tool, tmp_path):
        """In the mode 'quiet'."""
        flags = ['--console', 'quiet', '--work-dir', tmp_path, *options(demo_data, 1)]
        done = run_tool('tools/test.py', DEMO, piped[1] / 'epoch_1.pth', *flags)
        assert done.returncode == 0, done.stderr[-3000:]
        first, *rest = [line for line in done.stdout.splitlines() if 'warning: ' not in line]
        assert re.match(r'\d\d:\d\d:\d\d  test: box AP \d', first) and rest[0].startswith('COCO AP')
        assert 'Epoch(test)' in log_file(tmp_path)

    def test_a_reader_that_leaves_ends_nothing(self):
        """As `train CONFIG | head`. Rich would end the process; MMEngine's handlers go on."""
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, 'w') as file:
            console = TerminalConsole(file=file)
            for _ in range(2):
                console.print('a line')
            assert console.quiet
            print('what others print', file=file, flush=True)
