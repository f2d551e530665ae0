"""What tests read of a run: its log, its checkpoints, and whether two of them are the same."""

import os
import time
from pathlib import Path

import torch
from tiny_run import logged

from fishnet_mmdet.base.atomic import HALF_WRITTEN
from fishnet_mmdet.training.checkpoints.resume import newest

TIMES_AND_PLACES = ('eta', 'experiment_name', 'cfg', 'last_ckpt', 'written')


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return os.mkdir, (self.trace,)


def log_of(work_dir, rank=0):
    """What a training of the fork server printed."""
    return Path(f'{work_dir}.{rank}.log').read_text()


def wait_for_log(work_dir, holds, seconds=120):
    """Waits until `holds(text of the log)` is true."""
    deadline = time.monotonic() + seconds
    file = Path(f'{work_dir}.0.log')
    while not (file.is_file() and holds(file.read_text())):
        assert time.monotonic() < deadline, file.read_text()[-2000:]
        time.sleep(0.05)


def iteration_of(path):
    return torch.load(path, weights_only=True)['meta']['iter']


def found(run, warn=lambda line: None):
    """The checkpoint from which `--resume` goes on."""
    checkpoint = newest(run, run / 'last_checkpoint', warn)
    return checkpoint and checkpoint.path


def half_written(run):
    """Files that a write has left behind."""
    return list(Path(run).glob(f'.*{HALF_WRITTEN}'))


def assert_same(ours, theirs, place=''):
    """Bit for bit, except for times of day and paths."""
    if isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs) or (ours != ours).all() and (theirs != theirs).all(), place
    elif isinstance(ours, dict):
        assert set(ours) == set(theirs), place
        for key in ours:
            if not str(key).endswith('time') and key not in TIMES_AND_PLACES:
                assert_same(ours[key], theirs[key], f'{place}.{key}')
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs), place
        for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(one, other, f'{place}[{i}]')
    else:
        assert ours == theirs, place


def assert_same_run(resumed, whole, name):
    """That two runs ended with the same checkpoint, and logged the same."""
    ours, theirs = (torch.load(Path(run) / name, weights_only=True) for run in (resumed, whole))
    for checkpoint in (ours, theirs):
        # Paths; a run has its own.
        for key in ('best_ckpt', 'kept_checkpoints'):
            checkpoint['message_hub']['runtime_info'].pop(key, None)
    assert len(ours['loop']['draws']) and ours['optimizer']['state'] and len(ours['param_schedulers']) == 2
    assert_same(ours, theirs)
    assert logged(resumed) == logged(whole) and len(logged(whole)) > 10
