"""Trains one run in a process of its own, and stops it on request."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.lab.compare.experiment import CompareError
from fishnet_mmdet.lab.compare.results import RESULT, progress, result_of
from fishnet_mmdet.runs.settings import differences, map_texts, parse_settings
from fishnet_mmdet.training.stopping import STOPPED

OUTPUT = 'output.txt'
KILLED = 'killed'
"""File that says how far a run was when it was killed."""

REFUSED = re.compile(r'^error: (.+)', re.MULTILINE | re.DOTALL)
"""The last line of a training that ended because the user has to fix something first."""

POLL_SECONDS = 0.5


class RunStopped(Exception):
    """A run was asked to stop; it has saved, and can be resumed."""


def config_of(out: Path, folder: Path) -> Path:
    """Where the config of a run lies.

    It is outside the run's folder, because MMEngine writes its own version of it there under the same name.

    Args:
        out: Folder of the experiment.
        folder: Folder of the run, relative to `out`.
    """
    return out / 'configs' / f'{folder}.py'


def prepare(cfg: Config, out: Path, folder: Path) -> None:
    """Writes the config of a run, also of one that has a result.

    Args:
        cfg: The config.
        out: Folder of the experiment.
        folder: Folder of the run, relative to `out`.

    Raises:
        CompareError: The folder holds a run of another config.
    """
    path, text = config_of(out, folder), cfg.pretty_text
    has_begun = any((out / folder).glob('*.pth')) or (out / folder / RESULT).is_file()
    if path.is_file() and has_begun and (other := _other_settings(path.read_text(), text, folder)):
        raise CompareError(
            f'{out / folder} holds a run of another config, whose figures cannot be compared: {"; ".join(other[:4])}. '
            f'Delete the folder to run it again, or choose another --out. If the change does not matter, delete {path}'
        )
    write_atomically(path, text.encode())


def _other_settings(old: str, new: str, folder: Path) -> list[str]:
    """The settings in which two configs of a run differ. The folder of the experiment may have moved."""
    configs = []
    for text in (old, new):
        settings = parse_settings(text)
        root = str(settings.get('work_dir', '')).removesuffix(str(folder))
        configs.append(map_texts(settings, lambda text, root=root: text.removeprefix(root)))
    if 'held_out' not in configs[0]:
        # Written by an earlier version, which did not note it.
        configs[1].pop('held_out', None)
    return [f'{d.key} was {" and is ".join(d.texts())}' for d in differences(configs)]


def execute(out: Path, run: Path, deadline: float | None, on_progress: Callable[[str], None]) -> dict:
    """Trains a prepared run, or resumes it, and keeps its result in its folder.

    A run that fails has a result too: the reason.

    Args:
        out: Folder of the experiment.
        run: Folder of the run, relative to `out`.
        deadline: When to ask the run to stop, in seconds of `time.monotonic`; None for never.
        on_progress: Called twice a second with how far the run is.

    Raises:
        CompareError: The run did not start, because its data or weights are not what its config says. It has no
            result, because that says nothing about the backbone.
        RunStopped: The run was asked to stop, by the deadline or by a signal; what it had done is kept.
    """
    folder, config = out / run, config_of(out, run)
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, '-m', 'fishnet_mmdet', 'train', str(config), '--work-dir', str(folder), '--resume']
    with (folder / OUTPUT).open('ab') as output:
        begin = output.tell()
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, 'PYTHONUNBUFFERED': '1'}
        )
        status, peak, asked = _wait(process, folder, deadline, on_progress)
    if status == STOPPED:
        raise RunStopped(f'{run} was stopped')
    killed_again = status == -signal.SIGKILL and not asked and _is_killed_again(folder)
    if status in (-signal.SIGTERM, -signal.SIGINT, -signal.SIGKILL) and not killed_again:
        raise RunStopped(f'{run} was ended by signal {-status}')
    printed = (folder / OUTPUT).read_bytes()[begin:].decode(errors='replace')
    if status and (refused := REFUSED.search(printed)):
        raise CompareError(f'{run}: {refused[1]}')
    reason = (
        'killed twice (signal 9), as the system does to what takes all memory' if killed_again else _reason(printed)
    )
    result = dict(failed=reason) if status else dict(result_of(config, folder), process_peak_mb=peak)
    kept = dict(result)
    if 'checkpoint' in kept:
        # The folder of the experiment may be moved.
        kept['checkpoint'] = os.path.relpath(kept['checkpoint'], out)
    write_atomically(folder / RESULT, json.dumps(kept, indent=1).encode())
    if asked:
        raise RunStopped(f'{run} finished, and the next run was not started')
    return result


def _is_killed_again(folder: Path) -> bool:
    """Whether a run was killed before, and has not come further: the system kills what takes all memory."""
    mark, place = folder / KILLED, progress(folder)
    is_again = mark.is_file() and mark.read_text() == place
    mark.write_text(place)
    return is_again


def _wait(
    process: subprocess.Popen, folder: Path, deadline: float | None, on_progress: Callable[[str], None]
) -> tuple[int, float, bool]:
    """Waits for a process, and passes on SIGTERM, SIGINT and the deadline to it as SIGTERM.

    Returns:
        Its exit status, its peak memory in 1e6 bytes, and whether it was asked to stop.
    """
    asked = False

    def stop(*_: object) -> None:
        nonlocal asked
        asked = True
        # A terminal or a batch system may have signalled the process too: it counts both as one request.
        process.terminate()

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
            on_progress(progress(folder))
            time.sleep(POLL_SECONDS)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _reason(printed: str) -> str:
    """The last line that is not blank."""
    lines = (line.strip()[:300] for line in reversed(printed.splitlines()) if line.strip())
    return next(lines, 'it printed nothing')
