"""What a run shows, piece by piece: modes, lines, figures, streams, the bar."""

import io
import math
import os
import re
from types import SimpleNamespace

import pytest
from mmengine.hooks import LoggerHook
from mmengine.logging import HistoryBuffer, MMLogger
from rich.console import Console

from fishnet_mmdet.training.console import MODES, Screen
from fishnet_mmdet.training.console.bar import BarLine
from fishnet_mmdet.training.console.fields import Field, duration, fit, pace
from fishnet_mmdet.training.console.figures import main_figures
from fishnet_mmdet.training.console.hook import ScreenHook
from fishnet_mmdet.training.console.modes import resolve
from fishnet_mmdet.training.console.short_lines import parse, short_line
from fishnet_mmdet.training.console.streams import RunStream

LINE = (
    'Epoch(train)  [1][ 20/120]  base_lr: 6.6733e-04 lr: 6.6733e-04  eta: 1 day, 2:04:09  time: 0.2079  '
    'data_time: 0.0084  memory: 3021  grad_norm: 5.2184  loss: 2.1171  loss_rpn_cls: 0.5911  loss_rpn_bbox: 0.0089  '
    'loss_cls: 0.6204  acc: 88.0208  loss_bbox: 0.3008  loss_mask: 0.5959'
)


class Stream(io.StringIO):
    encoding = 'utf-8'

    def __init__(self, is_terminal):
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self):
        return self.is_terminal


class TestMode:
    @pytest.mark.parametrize(
        'mode, is_terminal, env, shown',
        [
            ('auto', True, dict(TERM='xterm'), 'bar'),
            ('auto', True, {}, 'bar'),
            ('auto', False, dict(TERM='xterm'), 'lines'),
            ('auto', True, dict(TERM='dumb'), 'lines'),
            ('auto', True, dict(TERM='xterm', CI='true'), 'lines'),
            ('auto', True, dict(TERM='xterm', JPY_PARENT_PID='7'), 'lines'),
            ('bar', True, dict(TERM='xterm', CI='true'), 'bar'),
            ('bar', False, dict(TERM='xterm'), 'lines'),
            ('mmengine', True, {}, 'mmengine'),
            ('quiet', True, {}, 'quiet'),
        ],
    )
    def test_follows_the_stream(self, mode, is_terminal, env, shown):
        assert mode in MODES and resolve(mode, Stream(is_terminal), env) == shown


class TestShortLine:
    def test_holds_what_matters(self):
        line = short_line(parse(LINE), '12:00:00', epochs=12)
        assert line.startswith('12:00:00  epoch 1/12   20/120  loss 2.12  rpn_cls 0.591')
        assert line.endswith('lr 0.00067  0.208 s/iter  1 d 02:04 left')

    @pytest.mark.parametrize('width', [60, 80, 100, 120, 200])
    def test_fits(self, width):
        line = short_line(parse(LINE), '12:00:00', 12, width)
        assert len(line) <= width and 'loss 2.12' in line
        assert ('mask 0.596' in line and 'grad 5.22' in line and '3.0 GiB' in line) == (width == 200)

    @pytest.mark.parametrize(
        'line, start',
        [
            ('Iter(train) [   50/80000]  lr: 1.0e-02  loss: 2.0', 't  iteration    50/80000  loss 2  lr 0.01'),
            ('Epoch(val) [1][ 50/5000]    eta: 0:01:38  time: 0.0199  data_time: 0.0061', 't  validation   50/5000'),
            ('Epoch(test) [50/5000]    eta: 0:01:38  time: 0.0199  data_time: 0.0061', 't  test   50/5000'),
        ],
    )
    def test_of_other_loops(self, line, start):
        assert short_line(parse(line), 't').startswith(start)

    def test_shows_a_slow_loader(self):
        line = short_line(parse(LINE.replace('data_time: 0.0084', 'data_time: 0.1000')), 't', width=200)
        assert 'loader 0.1 s' in line

    def test_a_loss_of_nan(self):
        assert 'loss nan' in short_line(parse('Epoch(train)  [1][1/2]  lr: 1.0e-02  loss: nan'), 't')

    def test_other_lines_are_not_read(self):
        assert parse('Exp name: mask_rcnn_20261128') is None


def test_fields_are_left_out_by_rank():
    fields = [Field('head'), Field('a', 2), Field('', 0), Field('b', 3), Field('c', 3)]
    assert [' '.join(fit(fields, width)) for width in (13, 12, 9, 6, 4, 3)] == [
        'head a b c', 'head a b', 'head a', 'head', 'head', 'hea',
    ]  # fmt: skip


def test_times():
    assert [duration(s) for s in (7, 754, 11554, 184320)] == ['0:07', '12:34', '3:12:34', '2 d 03:12']
    assert [pace(s) for s in (0.0199, 0.2079, 12.345)] == ['20 ms/iter', '0.208 s/iter', '12.3 s/iter']


class TestFigures:
    @pytest.mark.parametrize(
        'metrics, shown',
        [
            ({'coco/bbox_mAP_50': 0.6, 'coco/bbox_mAP': 0.412, 'coco/segm_mAP': 0.37}, ['box AP 41.2', 'mask AP 37.0']),
            ({'coco/bbox_mAP': -1, 'coco/segm_mAP': 0.37}, ['mask AP 37.0']),
            ({'coco/bbox_mAP': math.nan, 'coco/bbox_mAP_s': -1, 'coco/segm_mAP': None}, []),
            (
                {'teacher/coco/bbox_mAP': 0.4, 'student/coco/bbox_mAP': 0.3},
                ['teacher box AP 40.0', 'student box AP 30.0'],
            ),
            ({'accuracy/top1': 75.123, 'accuracy/top5': 92.0}, ['top-1 75.1']),
            ({'aAcc': 80.0, 'mIoU': 40.12}, ['mIoU 40.1']),
            ({'coco_panoptic/PQ': 41.0, 'coco_panoptic/SQ': 80.0}, ['PQ 41.0']),
            ({'acc': -3.25, 'time': 1.0}, ['acc -3.25', 'time 1']),
            ({}, []),
        ],
    )
    def test_main(self, metrics, shown):
        assert [str(figure) for figure in main_figures(metrics)] == shown


class TestBar:
    FIELDS = [Field('loss 0.5231', 1), Field('box AP 31.2', 3), Field('0.231 s/iter', 4), Field('1:02:10 left', 2)]

    def drawn(self, width, done=40, count=60, encoding='utf-8'):
        file = Stream(True)
        file.encoding = encoding
        console = Console(file=file, width=width, force_terminal=True, color_system=None)
        console.print(BarLine('epoch  3/10', done, count, self.FIELDS), end='')
        return file.getvalue()

    @pytest.mark.parametrize('width', range(20, 200, 7))
    def test_is_one_line(self, width):
        line = self.drawn(width)
        assert '\n' not in line and len(line) < width and line.startswith('epoch  3/10')

    def test_leaves_out_what_matters_least(self):
        bar = r'epoch  3/10  ━+╸? +  40/60  loss 0.5231'
        assert re.fullmatch(f'{bar}  box AP 31.2  0.231 s/iter  1:02:10 left', self.drawn(120))
        assert re.fullmatch(f'{bar}  1:02:10 left', self.drawn(60))

    def test_fields_stay_in_their_columns(self):
        """Without colours too, where rich draws no bar for what is left."""
        assert len({self.drawn(80, done).index('/60') for done in range(10, 61)}) == 1

    def test_in_other_encodings(self):
        self.drawn(80, encoding='ascii').encode('ascii')

    def test_of_a_stream(self):
        assert '40  loss' in self.drawn(80, count=None)


class TestScreen:
    """The handler and the streams, with MMEngine's own logger."""

    @pytest.fixture
    def make(self, monkeypatch, tmp_path):
        made = []

        def make(mode, is_terminal=False):
            stream = Stream(is_terminal)
            monkeypatch.setattr('sys.stdout', stream)
            logger = MMLogger.get_instance(f'{tmp_path}{len(made)}', log_file=str(tmp_path / 'run.log'))
            screen = Screen(mode)
            screen.attach(logger)
            made.append(logger)
            return screen, logger, stream

        yield make
        for logger in made:
            MMLogger._instance_dict.pop(logger.instance_name)

    @staticmethod
    def say(logger, message, module):
        """Logs a message as a module does."""
        exec(compile('logger.info(message)', module, 'exec'), dict(__name__=module, logger=logger, message=message))

    def test_frameworks_are_silent_before_the_first_epoch(self, make, tmp_path):
        screen, logger, stream = make('lines')
        self.say(logger, 'Config: long', 'mmengine.runner.runner')
        self.say(logger, 'my own hook', 'my_hooks')
        screen.began = True
        self.say(logger, 'Switch pipeline now!', 'mmdet.engine.hooks.pipeline_switch_hook')
        self.say(logger, 'Saving checkpoint at 1 epochs', 'mmengine.hooks.checkpoint_hook')
        assert stream.getvalue() == 'my own hook\nSwitch pipeline now!\n'
        log = (tmp_path / 'run.log').read_text()
        assert 'INFO - Config: long' in log and 'Saving checkpoint' in log

    def test_warnings_are_shown_once(self, make):
        _, logger, stream = make('quiet')
        for _ in range(3):
            logger.warning('the disk is nearly full')
        assert re.fullmatch(r'\d\d:\d\d:\d\d  warning: the disk is nearly full\n', stream.getvalue())

    @pytest.mark.parametrize('mode, shown', [('lines', True), ('bar', False), ('quiet', False)])
    def test_iterations(self, make, tmp_path, mode, shown):
        screen, logger, stream = make(mode, is_terminal=mode == 'bar')
        screen.epochs = 12
        self.say(logger, LINE, LoggerHook.__module__)
        assert ('epoch 1/12   20/120  loss 2.12' in stream.getvalue()) == shown
        assert 'loss_mask: 0.5959' in (tmp_path / 'run.log').read_text()

    def test_mmengine_stays_as_it_is(self, make, monkeypatch):
        screen, logger, stream = make('mmengine')
        former = list(logger.handlers)
        with screen:
            print('printed')
        self.say(logger, LINE, LoggerHook.__module__)
        assert logger.handlers == former and stream.getvalue().startswith('printed\n') and LINE in stream.getvalue()

    def test_prints_of_pycocotools_go_to_the_log(self, make, tmp_path):
        screen, _, stream = make('lines')
        with screen:
            exec("print('loading annotations into memory...')", dict(__name__='pycocotools.coco'))
            print('mine')
        assert stream.getvalue() == 'mine\n'
        assert 'loading annotations' in (tmp_path / 'run.log').read_text()

    def test_what_is_printed_comes_above_the_bar(self, make):
        screen, _, stream = make('bar', is_terminal=True)
        with screen:
            screen.set_bar(BarLine('epoch 1/2', 1, 4, []))
            print('half', end=' ')
            assert 'half' not in stream.getvalue()
            print('a line')
            shown = stream.getvalue()
            assert shown.index('half a line') < shown.rindex('epoch 1/2')
            print('a question? ', end='', flush=True)
            assert stream.getvalue().endswith('a question? ')
        assert '\x1b[?25l' not in stream.getvalue()

    def test_an_error_ends_the_bar(self, make):
        screen, _, stream = make('bar', is_terminal=True)
        with pytest.raises(RuntimeError), screen:
            screen.set_bar(BarLine('epoch 1/2', 1, 4, []))
            raise RuntimeError
        assert stream.getvalue().endswith('\x1b[2K')

    def test_names_that_cannot_be_encoded(self, make):
        screen, _, stream = make('lines')
        stream.encoding = 'ascii'
        screen.row('classes', '数')
        assert stream.getvalue() == 'classes     \\u6570\n'

    def test_wide_tables_are_not_broken(self, make, monkeypatch):
        monkeypatch.setenv('COLUMNS', '60')
        screen, logger, stream = make('bar', is_terminal=True)
        for width in (50, 70):
            self.say(logger, '\n' + '━' * width, 'fishnet_mmdet.evaluation.table')
        assert '━' * 50 in stream.getvalue() and '━' * 61 not in stream.getvalue()
        assert 'The table needs 70 columns' in stream.getvalue()

    def test_figures_that_are_absent(self, make):
        """After a validation, and in the bar of the training that goes on."""
        screen, _, stream = make('lines')
        hook = ScreenHook(screen, lambda runner: [])
        scalars = {
            'val/coco/bbox_mAP': HistoryBuffer([0.5, math.nan, -1.0, 0.25], [1] * 4),
            'train/loss': HistoryBuffer([math.nan], [1]),
        }
        hub = SimpleNamespace(log_scalars=scalars, runtime_info={})
        runner = SimpleNamespace(
            message_hub=hub, epoch=4, iter=16, log_processor=SimpleNamespace(window_size=10), val_loop=None
        )
        screen.epochs = 8
        for value in (0.25, -1, math.nan):
            hook.after_val_epoch(runner, {'coco/bbox_mAP': value})
        first, *others = stream.getvalue().splitlines()
        assert 'validation after epoch 4: box AP 25.0 (best 50.0)' in first
        assert len(others) == 2 and all('no figures' in line for line in others)
        assert [field.text for field in hook._training_fields(runner) if field.text] == ['loss nan', 'box AP 25.0']

    def test_a_run_that_cannot_be_followed_goes_on(self, make):
        screen, logger, stream = make('bar', is_terminal=True)
        hook = ScreenHook(screen, lambda runner: [('config', 'a.py'), ('network', 'see the config')])
        runner = SimpleNamespace(train_loop=None, max_epochs=3, message_hub=None, logger=logger)
        for _ in range(2):
            hook.before_train(runner)
        assert stream.getvalue().count('The screen cannot follow this run (AttributeError') == 1
        self.say(logger, LINE, LoggerHook.__module__)
        assert 'epoch 1/3   20/120  loss 2.12' in stream.getvalue()


def test_a_forked_process_writes_by_itself():
    ours, theirs = os.pipe()
    with os.fdopen(theirs, 'w') as real:
        stream = RunStream(real, lambda: True, lambda text: pytest.fail('shown'), lambda line: None)
        if not (pid := os.fork()):
            print('a worker warns', file=stream)
            os._exit(0)
        os.waitpid(pid, 0)
    with os.fdopen(ours, newline='') as written:
        assert written.read() == '\r\x1b[2Ka worker warns\n'
