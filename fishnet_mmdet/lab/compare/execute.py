"""Runs one after another in processes of their own, and what each leaves: figures, curve, time, memory."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from mmengine.config import Config

from fishnet_mmdet.files.atomic import write_atomically
from fishnet_mmdet.lab.compare.experiment import CompareError
from fishnet_mmdet.training.checkpoints.resume import POINTER
from fishnet_mmdet.training.stopping import STOPPED

RESULT = 'result.json'
OUTPUT = 'output.txt'
REFUSED = re.compile(r'^error: (.+)', re.MULTILINE | re.DOTALL)
"""How `tools/train.py` ends where a user has to fix something first."""

TRAIN = Path(__file__).resolve().parent.parent.parent / 'tools' / 'train.py'
POLL_SECONDS = 0.5
FIGURES = {'AP': 'mAP', 'AP50': 'mAP_50', 'AP75': 'mAP_75', 'AP_S': 'mAP_s', 'AP_M': 'mAP_m', 'AP_L': 'mAP_l'}
"""COCO's names, and what MMDetection's logs call them."""


class Stopped(Exception):
    """The runs were asked to stop; the one at hand saved, and can go on."""


def read_results(out: Path) -> dict[Path, dict]:
    """What earlier runs left, by folder below `out`."""
    found = {}
    for path in sorted(out.glob(f'*/*/*/{RESULT}')):
        try:
            found[path.parent.relative_to(out)] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise CompareError(f'{path} cannot be read ({error}); delete it to run that again') from error
    return found


def config_of(out: Path, folder: Path) -> Path:
    """The config of the run in a folder below `out`. Not in it: there MMEngine writes what it made of it, by the same name."""
    return out / 'configs' / f'{folder}.py'


def prepare(cfg: Config, out: Path, folder: Path) -> None:
    """Writes a run's config.

    Raises:
        CompareError: The folder holds a run of another config.
    """
    path, text = config_of(out, folder), cfg.pretty_text
    if path.is_file() and path.read_text() != text and any((out / folder).glob('*.pth')):
        raise CompareError(
            f'{out / folder} holds a run of another config: what it measured would not be comparable. Delete the folder '
            'to run it anew, or choose another --out'
        )
    write_atomically(path, text.encode())


def execute(out: Path, run: Path, deadline: float | None, say: Callable[[str], None]) -> dict:
    """Trains a run that was prepared, or goes on with it, and keeps its result in its folder.

    A run that fails is a result too: the reason stands in it.

    Args:
        out: The experiment's folder.
        run: The run's, below it.
        deadline: When to ask it to stop, by `time.monotonic`.
        say: Told, now and then, how far it is.

    Raises:
        CompareError: It never began, as data or weights are not what its config says. No result: it says nothing of the backbone.
        Stopped: It was asked to stop, by the deadline or by a signal; what it had done is kept.
    """
    folder, config = out / run, config_of(out, run)
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(TRAIN), str(config), '--work-dir', str(folder), '--resume']
    with (folder / OUTPUT).open('ab') as output:
        begin = output.tell()
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, 'PYTHONUNBUFFERED': '1'}
        )
        status, peak, asked = _watched(process, folder, deadline, say)
    if status == STOPPED:
        raise Stopped(f'{run} was stopped')
    if status in (-signal.SIGTERM, -signal.SIGINT, -signal.SIGKILL):
        raise Stopped(f'{run} was ended by signal {-status}')
    said = (folder / OUTPUT).read_bytes()[begin:].decode(errors='replace')
    if status and (refused := REFUSED.search(said)):
        raise CompareError(f'{run}: {refused[1]}')
    result = dict(failed=_reason(said)) if status else dict(_measured(config, folder), process_peak_mb=peak)
    write_atomically(folder / RESULT, json.dumps(result, indent=1).encode())
    if asked:
        raise Stopped(f'{run} came to its end and the next run was not begun')
    return result


def _watched(
    process: subprocess.Popen, folder: Path, deadline: float | None, say: Callable[[str], None]
) -> tuple[int, float, bool]:
    """Waits; returns exit status, the most memory the process had at once in 1e6 bytes, and whether it was to stop."""
    asked = False

    def stop(*_: object) -> None:
        nonlocal asked
        asked = True
        process.terminate()  # a terminal, or a batch system, may have told it too: it takes both for one

    former = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                unit = 1 if sys.platform == 'darwin' else 1024
                return process.returncode, usage.ru_maxrss * unit / 1e6, asked
            if deadline and time.monotonic() > deadline and not asked:
                stop()
            say(_progress(folder))
            time.sleep(POLL_SECONDS)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


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


def _reason(said: str) -> str:
    """The last line that is not blank."""
    return next((line.strip()[:300] for line in reversed(said.splitlines()) if line.strip()), 'it said nothing')


def _measured(config: Path, folder: Path) -> dict:
    """From the logs of a finished run."""
    cfg = Config.fromfile(config)
    lines = list(_logged(folder))
    steps = {line['step']: line for line in lines if 'loss' in line}  # a resumed run logs some again
    times = np.array([steps[step]['time'] for step in sorted(steps)])  # each is the mean since the one before
    since = np.diff([0, *sorted(steps)])
    memory = [line['memory'] for line in lines if 'memory' in line]
    curves = {
        kind: {
            line['step']: {name: _figure(line[f'coco/{kind}_{key}']) for name, key in FIGURES.items()}
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
        train_seconds=float(times @ since),
        device_peak_mb=max(memory, default=None),
        loss={step: line['loss'] for step, line in sorted(steps.items())},
    )
    for kind, curve in curves.items():
        if curve:
            result[kind] = curve[max(curve)]
            result[f'{kind}_curve'] = curve
    accuracy = [line['accuracy/top1'] for line in lines if 'accuracy/top1' in line]
    return result | (dict(top1=accuracy[-1]) if accuracy else {})


def _figure(value: float) -> float | None:
    """COCO says -1 where there are no objects of a size."""
    return None if value < 0 else value
