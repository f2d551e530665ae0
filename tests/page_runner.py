"""Runs the blocks of a page as a reader would, with small stand-ins for data and files, and as far as possible here."""

import contextlib
import io
import os
import re
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import torch
from conftest import CONFIGS, REPO
from fork_server import free_port
from in_process import run_here
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.registry import DATASETS, EVALUATOR, FUNCTIONS, HOOKS, LOOPS, MODELS, DefaultScope
from page_blocks import OUTPUT
from seeded import seeded_tensor

from fishnet_mmdet.commands import run_command

WORDS = {
    'CONFIG': 'mask_rcnn_fishnet_demo',
    'CHECKPOINT': 'epoch_10.pth',
    'DIR': 'data/demo',
    'ANNOTATIONS': 'instances_val2017.json',
    'RESULTS': 'results.segm.json',
    'COCO_ROOT=...': 'COCO_ROOT=data/coco',
    'COCO_ROOT=/data/coco': 'COCO_ROOT=data/coco',
}
"""What stands here for words that a reader replaces."""

WORDS_OF = {
    'docs/port.md': {'CONFIG': 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'},
    'docs/training.md': {'8': '1'},
}
"""The same, on one page."""

NEEDS = {
    '--tensorboard': 'tensorboard',
    '--fast-eval': 'faster_coco_eval',
    '--optimize openvino': 'openvino',
    'tools/export_onnx.py': 'onnxruntime',
}
"""Packages without which a line is not run; the extra `test` has them."""

SHORT = [
    'train_cfg.max_epochs=1', 'default_hooks.logger.interval=1', 'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False', 'val_dataloader.num_workers=0',
    'val_dataloader.persistent_workers=False',
]  # fmt: skip
"""One epoch, logged."""

NO_VALIDATION = ['train_cfg.val_interval=9', 'default_hooks.checkpoint.interval=-1']
SETTINGS = {
    ('train', False): [*SHORT, 'model.roi_head.bbox_head.fc_out_channels=64'],
    ('train', True): [
        *SHORT,
        'train_dataloader.dataset.pipeline.2.scale=(128,128)',
        'val_dataloader.dataset.pipeline.1.scale=(128,128)',
        'train_dataloader.dataset.indices=1',
    ],
    ('test', False): [],
    ('test', True): ['test_dataloader.dataset.pipeline.1.scale=(128,128)'],
}
"""By command, and whether the config is one of the paper's, for COCO."""

BASE = "_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'\n"
"""Above lines for a config that name no config to build on."""

CONFIG_KEYS = {
    '_base_', 'backbone', 'custom_hooks', 'custom_imports', 'default_hooks', 'init_cfg', 'model', 'preflight',
    'train_cfg', 'val_dataloader', 'val_evaluator',
}  # fmt: skip


class PageRunner:
    """Runs the blocks of a page in its folder, which is the current one.

    Args:
        page: Path of the page below the repository.
        run_tool: The fixture.
        long: Whether lines are run that take minutes.

    Attributes:
        session: The names of its Python blocks, which are as one session.
        printed: What its commands and blocks printed.
    """

    def __init__(self, page, run_tool, long=False):
        self.page, self.run_tool, self.long = page, run_tool, long
        self.session, self.printed = {}, ''

    def run(self, blocks):
        for block in blocks:
            if block.language in OUTPUT or not block.lines(self.long):
                continue
            if block.language == 'python':
                self.run_python('\n'.join(block.lines(self.long)) + '\n')
            elif '$(' in block.text:
                self.run_bash('\n'.join(block.lines(self.long)))
            else:
                for words in block.commands(self.long):
                    self.run_line(words)

    # Shell

    def run_line(self, words):
        """Runs a command; variables may stand before it."""
        replaced = {**WORDS, **WORDS_OF.get(self.page, {})}
        words = [replaced.get(word, word) for word in words]
        if any(word in words and not find_spec(package) for word, package in NEEDS.items()):
            return
        count = next(i for i, word in enumerate(words) if not re.match(r'[A-Z_]+=', word))
        variables = dict(word.split('=', 1) for word in words[:count])
        with patch.dict(os.environ, variables):
            status = self.start(*words[count:])
        assert status == 0, f'{self.page}: {" ".join(words)}: {self.printed[-3000:]}'

    def start(self, program, *arguments):
        """Starts a program; returns its exit status."""
        command = program.removeprefix('tools/').removesuffix('.py')
        if program == 'fishnet-mmdet':
            command, *arguments = arguments
        if command in ('train', 'test'):
            # In a process of its own: MMEngine keeps one visualizer for each, which writes the log.
            arguments = self.shortened(command, arguments)
            return self.keep(self.run_tool(f'tools/{command}.py', *arguments, cwd=Path.cwd(), timeout=900))
        if program == 'tools/benchmark.py':
            # In a process of its own, because it sets the threads of torch; each point is timed twice.
            arguments = [*arguments, '--seconds', 0, '--rounds', 2]
            return self.keep(self.run_tool(program, *arguments, cwd=Path.cwd(), timeout=3000))
        if program.startswith('tools/') and program.endswith('.py'):
            return self.keep(run_here(program, *arguments, cwd=Path.cwd()))
        if program.endswith('.sh'):
            command = [program, *self.shortened('train', arguments)]
            return self.keep(subprocess.run(command, capture_output=True, text=True, env=environment()))
        if program == 'mkdir':
            return self.keep(subprocess.run([program, *arguments], capture_output=True, text=True))
        if program == 'python':
            return self.in_process(lambda: run_python(arguments))
        assert program == 'fishnet-mmdet', f'{self.page}: {program} is not run here: say why in a comment'
        return self.in_process(lambda: run_command(command, arguments))

    def keep(self, done):
        self.printed += done.stdout + done.stderr
        return done.returncode

    def in_process(self, work):
        text = io.StringIO()
        try:
            with contextlib.redirect_stdout(text):
                status = work()
        except SystemExit as end:
            text.write(str(end.code))
            status = end.code
        self.printed += text.getvalue()
        return status or 0

    def shortened(self, command, arguments):
        """The arguments of a training or a test that takes seconds; what the page sets itself stays as it is."""
        settings, arguments = SETTINGS[command, '150' in arguments[0]], [*arguments]
        if command == 'train' and not self.long:
            settings = [*settings, *NO_VALIDATION]
        if not settings:
            return arguments
        if '--cfg-options' in arguments:
            place = arguments.index('--cfg-options') + 1
            return [*arguments[:place], *settings, *arguments[place:]]
        return [*arguments, '--cfg-options', *settings]

    def run_bash(self, text):
        """Runs lines that need a shell."""
        programs = Path('programs')
        programs.mkdir(exist_ok=True)
        code = 'from fishnet_mmdet_console import main; main()'
        for name, line in {'python': sys.executable, 'fishnet-mmdet': f'{sys.executable} -c "{code}"'}.items():
            (programs / name).write_text(f'#!/bin/sh\nexec {line} "$@"\n')
            (programs / name).chmod(0o755)
        settings = environment()
        settings['PATH'] = f'{programs.resolve()}:{settings["PATH"]}'
        command = ['bash', '-e', '-c', f'{text}\ncomplete -p 2>/dev/null || true']
        done = subprocess.run(command, capture_output=True, text=True, env=settings)
        assert self.keep(done) == 0, f'{self.page}: {done.stderr}'

    # Python

    def run_python(self, text):
        if config_keys(text):
            check_config(text, Path.cwd())
        elif find_spec('supervision') or 'to_supervision' not in text:
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(text, self.page, 'exec'), self.session)
            self.printed += printed.getvalue()


def config_keys(text):
    """The settings of a config that lines set; none where they are a program."""
    return CONFIG_KEYS & set(re.findall(r"^(\w+) = (?:dict\(|\[|'mm)", text, re.MULTILINE))


def environment():
    """The variables of a process in which `python` is this one."""
    path = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    more = {'PYTHONPATH': str(REPO), 'OMP_NUM_THREADS': '1', 'PATH': path, 'PORT': str(free_port())}
    return {**os.environ, **more}


def run_python(arguments):
    """`python FILE ...` or `python -m MODULE ...`."""
    if arguments[0] == '-m':
        with patch.object(sys, 'argv', [*arguments[1:]]):
            runpy.run_module(arguments[1], run_name='__main__')
        return 0
    done = run_here(arguments[0], *arguments[1:], cwd=Path.cwd())
    print(done.stdout + done.stderr)
    return done.returncode


def check_config(text, folder):
    """Loads lines for a config, and builds what they describe."""
    keys = config_keys(text)
    register_all_modules()
    if 'init_cfg' in keys:
        return load_each(text)
    base = f'_base_ = {str(CONFIGS / "mask_rcnn_fishnet_demo.py")!r}\n' if 'preflight' in keys else BASE
    path = folder / 'lines.py'
    path.write_text(text if '_base_' in keys else base + text)
    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope('mmdet'):
        if 'preflight' in keys:
            assert run_command('check', [str(path)]) == 0
        for name in keys & {'backbone', 'model'}:
            with torch.device('meta'):
                built = MODELS.build(cfg[name])
            assert type(getattr(built, 'backbone', built)).__name__ == 'FishNet'
        for name in cfg.default_hooks.keys() - {'visualization'}:  # it needs a run
            HOOKS.build(cfg.default_hooks[name])
        if 'train_cfg' in keys:
            assert LOOPS.get(cfg.train_cfg.type)
        if 'val_dataloader' in keys:
            check_validation(cfg, keys)


def check_validation(cfg, keys):
    """Builds a loader's functions and data sets, and the evaluator."""
    if 'worker_init_fn' in cfg.val_dataloader:
        assert FUNCTIONS.get(cfg.val_dataloader.worker_init_fn.type)
    if 'val_evaluator' in keys:
        data = DATASETS.build(cfg.val_dataloader.dataset)
        evaluator = EVALUATOR.build(cfg.val_evaluator)
        assert len(data.datasets) == len(evaluator.metrics) == 2 and len(data) > 2


def load_each(text):
    """Loads the weights that each line names; another line would replace the first."""
    for line in text.splitlines():
        scope = {}
        exec(line, scope)
        if 'init_cfg' in scope:
            net = MODELS.build(dict(type='FishNet', init_cfg=scope['init_cfg']))
            net.init_weights()
            key, weight = next(iter(net.state_dict().items()))
            assert torch.equal(weight, seeded_tensor(f'backbone.{key}', weight.shape).float()), line
