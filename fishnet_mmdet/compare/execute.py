"""Runs one after another in processes of their own, and what each leaves: figures, curve, time, memory."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from mmengine.config import Config

from fishnet_mmdet.atomic import write_atomically
from fishnet_mmdet.compare.experiment import CompareError
from fishnet_mmdet.training.resume import POINTER
from fishnet_mmdet.training.stopping import STOPPED

RESULT = 'result.json'
CONFIG = 'config.py'
OUTPUT = 'output.txt'
TRAIN = Path(__file__).resolve().parent.parent.parent / 'tools' / 'train.py'
POLL_SECONDS = 0.5
FIGURES = {'AP': 'mAP', 'AP50': 'mAP_50', 'AP75': 'mAP_75', 'AP_S': 'mAP_s', 'AP_M': 'mAP_m', 'AP_L': 'mAP_l'}
"""COCO's names, and what MMDetection's logs call them."""


class Stopped(Exception):
    """A run was asked to stop; it saved, and can go on."""


def read_results(out: Path) -> dict[Path, dict]:
    """What earlier runs left, by folder below `out`."""
    found = {}
    for path in sorted(out.glob(f'*/*/*/{RESULT}')):
        try:
            found[path.parent.relative_to(out)] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise CompareError(f'{path} cannot be read ({error}); delete it to run that again') from error
    return found


def prepare(cfg: Config, folder: Path) -> None:
    """Writes a run's config where the run will be.

    Raises:
        CompareError: The folder holds a run of another config.
    """
    path, text = folder / CONFIG, cfg.pretty_text
    if path.is_file() and path.read_text() != text and any(folder.glob('*.pth')):
        raise CompareError(
            f'{folder} holds a run of another config: what it measured would not be comparable. Delete the folder to '
            'run it anew, or choose another --out'
        )
    write_atomically(path, text.encode())


def execute(folder: Path, deadline: float | None, say: Callable[[str], None]) -> dict:
    """Trains the config in a folder, or goes on with it, and keeps its result there.

    A run that fails is a result too: the reason stands in it.

    Args:
        folder: Holds `config.py`.
        deadline: When to ask it to stop, by `time.monotonic`.
        say: Told, now and then, how far it is.

    Raises:
        Stopped: It was asked to stop before its end, by the deadline or by a signal.
    """
    command = [sys.executable, str(TRAIN), str(folder / CONFIG), '--work-dir', str(folder), '--resume']
    with (folder / OUTPUT).open('ab') as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, 'PYTHONUNBUFFERED': '1'}
        )
        status, peak = _watched(process, folder, deadline, say)
    if status == STOPPED:
        raise Stopped(f'{folder} was stopped and goes on at the next call')
    if status:
        if status in (-signal.SIGTERM, -signal.SIGINT, -signal.SIGKILL):
            raise Stopped(f'{folder} was ended by signal {-status}; it goes on from its last checkpoint')
        result = dict(failed=_reason(folder))
    else:
        result = dict(_measured(folder), process_peak_mb=peak)
    write_atomically(folder / RESULT, json.dumps(result, indent=1).encode())
    return result


def _watched(
    process: subprocess.Popen, folder: Path, deadline: float | None, say: Callable[[str], None]
) -> tuple[int, float]:
    """Waits; returns exit status and the most memory that the process had at once, in 1e6 bytes."""
    asked = False
    while True:
        try:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                return process.returncode, usage.ru_maxrss * (1 if sys.platform == 'darwin' else 1024) / 1e6
            if deadline and time.monotonic() > deadline and not asked:
                asked = True
                process.terminate()
            say(_progress(folder))
            time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            # The terminal told the process too; on its own it ends after the iteration at hand.
            asked = True
            say('stopping')


def _logged(folder: Path) -> Iterator[dict]:
    """Every line that the runs in a folder logged, oldest first."""
    for file in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue  # being written, or cut short by a crash


def _progress(folder: Path) -> str:
    lines = [line for line in _logged(folder) if 'loss' in line]
    if not lines:
        return 'starting'
    last = lines[-1]
    return f'epoch {last.get("epoch", "?")}, iteration {last["step"]}, loss {last["loss"]:.3f}'


def _reason(folder: Path) -> str:
    """The last line of what the process said that is not blank."""
    lines = (folder / OUTPUT).read_text(errors='replace').splitlines()
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), 'it said nothing')


def _measured(folder: Path) -> dict:
    """From logs and tables of a finished run."""
    cfg = Config.fromfile(folder / CONFIG)
    lines = list(_logged(folder))
    steps = {line['step']: line for line in lines if 'loss' in line}  # a resumed run logs some again
    interval = min(np.diff([0, *sorted(steps)]), default=1)
    times = np.array([line['time'] for line in steps.values()])
    memory = [line['memory'] for line in lines if 'memory' in line]
    curves = {
        kind: {
            line['step']: {name: line[f'coco/{kind}_{key}'] for name, key in FIGURES.items()}
            for line in lines
            if f'coco/{kind}_mAP' in line
        }
        for kind in ('bbox', 'segm')
    }
    result = dict(
        checkpoint=str(Path((folder / POINTER).read_text().strip()).resolve()),
        epochs=cfg.train_cfg.max_epochs,
        iterations=max(steps, default=0),
        iteration_ms=1000 * float(np.median(times)) if len(times) else None,
        train_seconds=float(times.sum() * interval),
        device_peak_mb=max(memory, default=None),
        loss={step: line['loss'] for step, line in sorted(steps.items())},
    )
    for kind, curve in curves.items():
        if curve:
            result[kind] = curve[max(curve)]
            result[f'{kind}_curve'] = curve
    accuracy = [line['accuracy/top1'] for line in lines if 'accuracy/top1' in line]
    return result | (dict(top1=accuracy[-1]) if accuracy else {})
