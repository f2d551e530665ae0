"""Measures the cells of a grid: each contender in a process of its own, in turns, lines written after each cell."""

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch

from fishnet_mmdet.lab.benchmark.contenders import Contender
from fishnet_mmdet.lab.benchmark.networks import NETWORKS
from fishnet_mmdet.lab.benchmark.rivals.grid import Cell, Grid
from fishnet_mmdet.lab.benchmark.rivals.lines import Cells, Line, append
from fishnet_mmdet.lab.benchmark.rivals.runtimes import RUNTIMES
from fishnet_mmdet.lab.benchmark.rivals.worker import Loaded, Refused, Worker, prepare, serve
from fishnet_mmdet.lab.benchmark.timing import Budget, go_round

OnProgress = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class RivalsPlan:
    """How the cells of a grid are measured.

    Attributes:
        grid: From `make_grid`.
        file: Receives the lines.
        budget: How long to time each cell.
        threads: Number of threads of every contender.
        deadline: Value of `time.monotonic()` after which no further cell is started.
        machine: From `describe`.
    """

    grid: Grid
    file: Path
    budget: Budget
    threads: int
    deadline: float
    machine: dict[str, str | int | bool]

    @property
    def size(self) -> int:
        """Number of cells."""
        return sum(len(cells) for _, cells in self.grid.values())


def missing(contenders: list[Contender], cells: list[Cell], known: Cells) -> list[Cell]:
    """The cells that are not measured yet, or without a contender that can be timed by now."""

    def is_done(cell: Cell) -> bool:
        lines = {line.contender: line for line in known.get(cell, ())}
        return all(
            contender in lines and (lines[contender].status != 'not installed' or not_timed(contender))
            for contender in contenders
        )

    return [cell for cell in cells if not is_done(cell)]


def not_timed(contender: Contender) -> Refused | None:
    """Why a contender cannot be timed at all, if that is so."""
    runtime, requires = RUNTIMES.get(contender.form), NETWORKS[contender.network].requires
    if runtime and runtime.lacks:
        return Refused('not offered', runtime.lacks)
    if runtime and not runtime.is_installed:
        return Refused('not installed', f'pip install {runtime.package}')
    if requires and find_spec(requires[0]) is None:
        return Refused('not installed', requires[1])
    return None


def measure_rivals(plan: RivalsPlan, known: Cells, on_progress: OnProgress) -> Iterator[tuple[Cell, list[Line]]]:
    """Measures the cells that are missing, until the deadline.

    Args:
        plan: What to measure, and how.
        known: The cells that are in the file.
        on_progress: Called with what is being done and the completed fraction, 0 to 1.

    Yields:
        Each cell with its lines, which are in the file by then.
    """
    done = 0
    for network, (contenders, cells) in plan.grid.items():
        wanted = missing(contenders, cells, known)
        done += len(cells) - len(wanted)
        if not wanted or time.monotonic() >= plan.deadline:
            continue
        on_progress(f'{network}: exporting', done / plan.size)
        # Rounds of different calls do not compare: what a cell has already is measured again, beside what is new. It
        # comes first, so that the reader of the file sees that the cell begins again.
        of_cell = {
            cell: list(dict.fromkeys([*(line.contender for line in known.get(cell, ())), *contenders]))
            for cell in wanted
        }
        every = list(dict.fromkeys(contender for cell in wanted for contender in of_cell[cell]))
        with _workers(network, every, wanted, plan) as workers:
            for cell in wanted:
                if time.monotonic() >= plan.deadline:
                    break
                say = partial(_say, on_progress, done / plan.size, 1 / plan.size)
                lines = _measure_cell(cell, of_cell[cell], workers, plan, say)
                append(plan.file, lines)
                done += 1
                yield cell, lines


def _say(on_progress: OnProgress, before: float, share: float, what: str, done: float) -> None:
    on_progress(what, before + share * done)


@contextmanager
def _workers(
    network: str, contenders: list[Contender], cells: list[Cell], plan: RivalsPlan
) -> Iterator[dict[Contender, Worker | Refused]]:
    plan.file.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=plan.file.parent, prefix='.rivals-'))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        sides = sorted({cell.side for cell in cells})
        first = Worker(prepare, network, sides, folder, plan.threads)
        stack.callback(first.close)
        failure = first.ask()
        first.close()
        workers: dict[Contender, Worker | Refused] = {}
        for contender in contenders:
            refused = not_timed(contender) or failure
            workers[contender] = refused or Worker(serve, contender, folder, plan.threads)
            if isinstance(workers[contender], Worker):
                stack.callback(workers[contender].close)
        yield workers


def _measure_cell(
    cell: Cell,
    contenders: list[Contender],
    workers: dict[Contender, Worker | Refused],
    plan: RivalsPlan,
    say: OnProgress,
) -> list[Line]:
    answers: dict[Contender, Loaded | Refused] = {}
    for i, contender in enumerate(contenders):
        say(f'{cell}: loading {contender.form}', i / len(contenders) / 3)
        worker = workers[contender]
        answers[contender] = worker.ask('load', cell.batch, cell.side) if isinstance(worker, Worker) else worker
    timers = {c: partial(_seconds, workers[c], c, answers) for c, a in answers.items() if isinstance(a, Loaded)}
    seconds = {}
    if timers:
        seconds = go_round(timers, plan.budget, lambda spent: say(f'{cell}: timing in turns', (1 + 2 * spent) / 3))
    return [_line(cell, contender, answers[contender], seconds.get(contender, []), plan) for contender in contenders]


def _seconds(worker: Worker, contender: Contender, answers: dict[Contender, Loaded | Refused]) -> float:
    """Seconds of one pass; NaN, and the reason in `answers`, after a failure."""
    if isinstance(answers[contender], Refused):
        return math.nan
    answer = worker.ask('time')
    if isinstance(answer, Refused):
        answers[contender] = answer
        return math.nan
    return answer


def _line(cell: Cell, contender: Contender, answer: Loaded | Refused, seconds: list[float], plan: RivalsPlan) -> Line:
    runtime = RUNTIMES.get(contender.form)
    line = Line(
        cell=cell.network, batch=cell.batch, side=cell.side, network=contender.network, form=contender.form,
        machine=plan.machine,
    )  # fmt: skip
    if isinstance(answer, Refused):
        return replace(line, status=answer.status, reason=answer.reason)
    package = f'{runtime.package} {runtime.version}' if runtime else f'torch {torch.__version__}'
    return replace(line, seconds=seconds, difference=answer.difference, package=package)
