"""From a config file to a run: what the commands `train` and `test` call."""

from fishnet_mmdet.training.launch.config import add_common_arguments, add_console_argument, load_config, read_config
from fishnet_mmdet.training.launch.runner import build_runner
from fishnet_mmdet.training.launch.switches import switch_on_fast_eval
from fishnet_mmdet.training.launch.testing import test
from fishnet_mmdet.training.launch.training import train

__all__ = [
    'add_common_arguments',
    'add_console_argument',
    'build_runner',
    'load_config',
    'read_config',
    'switch_on_fast_eval',
    'test',
    'train',
]
