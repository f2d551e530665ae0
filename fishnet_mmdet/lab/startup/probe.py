"""One start of `train` or `test`, up to its first batch: python PATH/probe.py COMMAND CONFIG ...

It runs as a file, with any checkout of the package in PYTHONPATH, and prints the seconds of each part as JSON. So two
checkouts can be compared. It takes the steps of the command one after the other.
"""

import argparse
import json
import multiprocessing
import os
import runpy
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

parts = {}
_last = [0.0, 0.0]


def mark(name: str) -> None:
    """Ends a part: its wall time and its processor time, in seconds."""
    used = os.times()
    now = [time.time() - float(os.environ['PROBE_START']), sum(used[:4])]
    parts[name] = [now[0] - _last[0], now[1] - _last[1]]
    _last[:] = now


def begin_process() -> None:
    """Does what the console script does first, in a checkout in which it does anything."""
    startup = Path(find_spec('fishnet_mmdet').origin).with_name('base') / 'startup.py'
    if startup.exists():
        runpy.run_path(str(startup))['begin'](os.environ)


def keep_imports() -> None:
    """Does what the commands do when their imports are done, in a checkout in which they do anything."""
    if find_spec('fishnet_mmdet.base.startup'):
        import_module('fishnet_mmdet.base.startup').keep_imports()


def stop_at_first_batch() -> object:
    """A hook of MMEngine that ends the last two parts, prints all, and ends the process."""
    from mmengine.hooks import Hook

    class Stop(Hook):
        priority = 'LOWEST'

        def before_train_epoch(self, runner: object) -> None:
            mark('data sets, optimizer, weights')

        def before_train_iter(self, *args: object, **kwargs: object) -> NoReturn:
            mark('first batch')
            print('\n' + json.dumps(parts), flush=True)
            # Else one that waits to hand over a batch never ends.
            for worker in multiprocessing.active_children():
                worker.kill()
            os._exit(0)

        before_test_epoch, before_test_iter = before_train_epoch, before_train_iter

    return Stop()


def main(command: str, arguments: list[str]) -> NoReturn:
    """Starts, and ends the process at the first batch."""
    begin_process()
    module = import_module(f'fishnet_mmdet.commands.{command}')
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    args = parser.parse_args(arguments)
    keep_imports()
    mark('imports of the command')

    from fishnet_mmdet import preflight
    from fishnet_mmdet.training.launch import build_runner, load_config
    from fishnet_mmdet.weights.catalogue import SCHEME

    cfg = load_config(args)
    keep_imports()
    mark('config, and imports of mmdet')

    if command == 'test':
        cfg.load_from, splits = f'{SCHEME}{args.checkpoint}', ['test']
    else:
        splits = ['train'] + ['val'] * bool(cfg.get('val_cfg'))
    preflight.check(cfg, splits, command == 'train')
    mark('preflight')

    runner = build_runner(cfg)
    mark('runner and model')

    runner.register_hook(stop_at_first_batch())
    getattr(runner, command)()
    sys.exit('no batch came')


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2:])
