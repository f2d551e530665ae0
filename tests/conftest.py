"""What several test files share: small data, paths of the repository, runs of its tools."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Before torch is imported. Two workers of one thread each are faster than one worker of two threads.
os.environ.setdefault('OMP_NUM_THREADS', '1')

REPO = Path(__file__).resolve().parent.parent
CONFIGS = REPO / 'configs'
REAL_DATA = REPO.parent / 'shared' / 'data'
READ_AT_START = {'PYTHONPATH', 'PYTHONHASHSEED', 'OMP_NUM_THREADS'}
"""Environment variables that Python or torch read when they start."""


def pytest_xdist_auto_num_workers(config):
    """Two workers, but none for a single file."""
    return 0 if len(config.args) == 1 and Path(config.args[0].split('::')[0]).is_file() else 2


@pytest.fixture(scope='session', autouse=True)
def cache_of_the_session(tmp_path_factory):
    """A cache folder that lasts as long as the drawn images whose checks it remembers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        yield


@pytest.fixture(scope='session', autouse=True)
def model_cards():
    """Configs are read faster. Not imported for tests without MMEngine."""
    if 'mmengine' in sys.modules:
        import model_cards

        model_cards.read_each_once()


@pytest.fixture(scope='session')
def demo_data(tmp_path_factory):
    """A demo set of a few images, drawn once per session."""
    from fishnet_mmdet.lab.demo_data.demo import DemoSpec, make_demo_data

    root = tmp_path_factory.mktemp('data') / 'demo'
    make_demo_data(root, DemoSpec(train=8, val=4, side=96))
    return root


@pytest.fixture
def annotations(demo_data):
    """The training annotations of the demo set."""
    return demo_data / 'annotations' / 'instances_train.json'


@pytest.fixture(scope='session')
def demo_config():
    """The config of the demo. A test that changes it takes a copy."""
    from mmengine.config import Config

    return Config.fromfile(CONFIGS / 'mask_rcnn_fishnet_demo.py')


@pytest.fixture
def make_case(demo_data, demo_config, tmp_path):
    """Makes a copy of the demo set for this test alone, with a config of it, for defects to be put in."""
    from drawn_case import Case

    def make(seed=0, split='train'):
        return Case.of(demo_data, demo_config, tmp_path, seed, split)

    return make


@pytest.fixture(scope='session')
def forker():
    """A process that has imported everything, and forks real processes for jobs; see fork_server.py."""
    from fork_server import ForkServer

    server = ForkServer()
    yield server
    server.close()


@pytest.fixture(scope='session')
def run_tool(forker):
    """Runs a tool of the repository, in a process of its own, to its end; returns what `subprocess.run` does."""

    def run(tool, *arguments, cwd=None, env=None, timeout=300):
        if not READ_AT_START & (env or {}).keys():
            return forker.run_script(REPO / tool, *arguments, cwd=cwd, env=env, timeout=timeout)
        command = [sys.executable, str(REPO / tool), *map(str, arguments)]
        environment = {**os.environ, 'OMP_NUM_THREADS': '1', **env}
        return subprocess.run(
            command, cwd=cwd or REPO, env=environment, capture_output=True, text=True, timeout=timeout
        )

    return run


@pytest.fixture(scope='session')
def call_tool():
    """Runs a tool of the repository in this process, which saves seconds of imports; returns what `run_tool` does."""
    from in_process import run_here

    return run_here


@pytest.fixture
def plain_signals():
    """SIGINT and SIGTERM as in a process in a terminal, however the tests were started.

    A shell starts a command in the background with SIGINT ignored.
    """
    import signal

    plain = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    former = {number: signal.signal(number, handler) for number, handler in plain.items()}
    yield
    for number, handler in former.items():
        signal.signal(number, handler or signal.SIG_DFL)


@pytest.fixture
def flags_of(call_tool, capsys):
    """The flags that `--help` of a command, or of a script of `tools/`, lists, without --help itself."""
    import re

    from fishnet_mmdet.commands import run_command

    def flags(command):
        if command.startswith('tools/'):
            text = call_tool(command, '--help').stdout
        else:
            with pytest.raises(SystemExit) as end:
                run_command(command, ['--help'])
            assert end.value.code == 0
            text = capsys.readouterr().out
        # Of an option, its names come first; two spaces divide them from the help.
        names = ' '.join(re.findall(r'^ +(-\S.*?)(?:  |$)', text, re.MULTILINE))
        return set(re.findall(r'(--[\w-]+)', names)) - {'--help'}

    return flags


def demo_options(root):
    """--cfg-options that point the demo config to a small set and reduce a run to seconds."""
    loaders = [f'{split}_dataloader' for split in ('train', 'val', 'test')]
    return [
        *(f'{loader}.dataset.data_root={root}/' for loader in loaders),
        *(f'{split}_evaluator.ann_file={root}/annotations/instances_val.json' for split in ('val', 'test')),
        *(f'{loader}.num_workers=0' for loader in loaders),
        *(f'{loader}.persistent_workers=False' for loader in loaders),
        'train_dataloader.batch_size=2',
        'default_hooks.logger.interval=1',
    ]
