"""A contender in a process of its own, which loads a cell and times passes when it is asked to.

The thread pools of torch, onnxruntime and OpenVINO would disturb each other in one process.
"""

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from fishnet_mmdet.deploy.onnx_file import write_onnx
from fishnet_mmdet.lab.benchmark.contenders import Contender, build
from fishnet_mmdet.lab.benchmark.rivals.runtimes import RUNTIMES, NotOffered, Run
from fishnet_mmdet.lab.benchmark.tasks import TASKS
from fishnet_mmdet.lab.benchmark.timing import calls_for, time_once

SHORT = 0.5
"""Seconds of a pass below which each turn begins with a pass that is not timed: other processes emptied the caches."""


class Loaded(NamedTuple):
    """What a worker says of a cell that it has loaded.

    Attributes:
        difference: Largest difference from the reference, as a share of the largest value of a level.
    """

    difference: float


class Refused(NamedTuple):
    """What a worker says instead of an answer.

    Attributes:
        status: 'not offered' or 'failed'.
        reason: Why.
    """

    status: str
    reason: str


def context() -> multiprocessing.context.BaseContext:
    """Makes new processes by a fork from one that has imported everything and computed nothing."""
    kind = 'forkserver' if 'forkserver' in multiprocessing.get_all_start_methods() else 'spawn'
    made = multiprocessing.get_context(kind)
    if kind == 'forkserver':
        made.set_forkserver_preload([__name__])
    return made


class Worker:
    """The process of a contender, as the caller sees it.

    Args:
        work: A function of this module, run in the process; its first argument is the process' end of the pipe.
        given: Its other arguments.
    """

    def __init__(self, work: Callable[..., None], *given: object) -> None:
        start = context()
        self.pipe, theirs = start.Pipe()
        self.process = start.Process(target=_work, args=(work, theirs, *given))
        self.process.start()
        theirs.close()

    def ask(self, *request: object) -> Any:
        """Sends a request and waits for the answer; `Refused` if there is none because the process has ended."""
        try:
            self.pipe.send(request)
            return self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            return Refused('failed', f'the process ended with status {self.process.exitcode}')

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def prepare(pipe: Connection, network: str, sides: Sequence[int], folder: Path, threads: int) -> None:
    """Writes a network as ONNX, and what it computes in eager float32, into a folder; then sends None, or `Refused`."""
    torch.set_num_threads(threads)
    try:
        built = build(Contender(network, 'eager'), TASKS['inference'], 'cpu')
        write_onnx(built, folder / 'network.onnx')
        for side in sides:
            with torch.no_grad():
                levels = built(torch.from_numpy(draw_images(1, side)))
            for i, level in enumerate(levels):
                np.save(reference(folder, side, i), level.numpy())
        pipe.send(None)
    except Exception as error:
        pipe.send(_refused(error))


def serve(pipe: Connection, contender: Contender, folder: Path, threads: int) -> None:
    """Answers `load` (batch, side) by `Loaded` and `time` by seconds of one pass, until the process is ended.

    Args:
        pipe: Where requests come from and answers go.
        contender: The contender.
        folder: The folder that `prepare` filled.
        threads: Number of threads.
    """
    torch.set_num_threads(threads)
    opener = Opener(contender, folder, threads)
    run, calls, short = None, 1, False
    while True:
        try:
            request, *given = pipe.recv()
        except EOFError:  # the caller has ended
            return
        try:
            if request == 'load':
                run = None  # the former cell's memory is released first
                run = opener.open(*given)
                answer = Loaded(opener.difference(run, given[1]))  # the first pass, which fills caches
                seconds = time_once(run, 1, 'cpu')
                calls, short = calls_for(seconds), seconds < SHORT
            else:
                if short:
                    run()
                answer = time_once(run, calls, 'cpu')
            pipe.send(answer)
        except Exception as error:
            pipe.send(_refused(error))


def _work(work: Callable[..., None], *given: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the caller ends this one
    work(*given)


class Opener:
    """Makes passes of one contender over images of any size.

    Args:
        contender: The contender.
        folder: The folder that `prepare` filled.
        threads: Number of threads.
    """

    def __init__(self, contender: Contender, folder: Path, threads: int) -> None:
        self.contender, self.folder, self.threads = contender, folder, threads
        self.network: torch.nn.Module | None = None

    def open(self, batch: int, side: int) -> Run:
        """A pass over a batch of images.

        Raises:
            NotOffered: The runtime does not have this number format here.
        """
        images = draw_images(batch, side)
        if runtime := RUNTIMES.get(self.contender.form):
            return runtime.open(self.folder / 'network.onnx', images, self.threads)
        if self.network is None:
            self.network = build(self.contender, TASKS['inference'], 'cpu')
        tensor = torch.from_numpy(images)

        def run() -> tuple[torch.Tensor, ...]:
            with torch.no_grad():
                return self.network(tensor)

        return run

    def difference(self, run: Run, side: int) -> float:
        """Largest difference of the first image's levels from the reference; NaN if one is not finite."""
        worst = 0.0
        for i, level in enumerate(run()):
            ours = level[:1].float().numpy() if isinstance(level, torch.Tensor) else level[:1]
            exact = np.load(reference(self.folder, side, i), mmap_mode='r')
            if ours.shape != exact.shape:
                raise ValueError(f'level {i} is {ours.shape} instead of {exact.shape}')
            worst = np.maximum(worst, np.abs(ours - exact).max() / np.abs(exact).max())  # keeps NaN
        return float(worst)


def reference(folder: Path, side: int, level: int) -> Path:
    """The file of a level that eager float32 computes of one image of this side."""
    return folder / f'{side}-{level}.npy'


def draw_images(batch: int, side: int) -> np.ndarray:
    """A batch of the same image of noise, (batch, 3, side, side), float32; the same in each process."""
    image = np.random.default_rng(0).standard_normal((1, 3, side, side), dtype=np.float32)
    return np.repeat(image, batch, axis=0)


def _refused(error: Exception) -> Refused:
    if isinstance(error, NotOffered):
        return Refused('not offered', str(error))
    text = ' '.join(f'{type(error).__name__}: {error}'.split())
    return Refused('failed', text[:300])
