"""Times a forward pass of FishNet alone and beside busy processes, for several spin counts of torch's threads.

Each spin count has a process of its own, since OpenMP reads it once; the processes take turns. On an idle machine:
python -m fishnet_mmdet.lab.busy --page docs/benchmark.md
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.registry import MODELS

from fishnet_mmdet.base.errors import UserError, one_line_errors
from fishnet_mmdet.base.startup import OF_THE_USER, SPINS
from fishnet_mmdet.base.tables import Column, Table
from fishnet_mmdet.lab.generated import publish, split_page
from fishnet_mmdet.lab.machine import describe, sentence

DEFAULT = 'default'
"""No spin count: the library takes its own, 300,000."""

WARM_UPS = 2


def time_here(arch: str, side: int, passes: int, busy: int) -> dict[str, list[float]]:
    """Times forward passes in this process, first alone, then beside busy processes.

    Args:
        arch: A name of `ARCHS`.
        side: Side of the image in pixels.
        passes: Number of timed passes of each.
        busy: Number of busy processes.

    Returns:
        Milliseconds of each pass, under 'alone' and 'busy'.
    """
    network = MODELS.build(dict(type='FishNet', arch=arch)).eval()
    image = torch.rand(1, 3, side, side)

    def run(count: int) -> list[float]:
        times = []
        for _ in range(count):
            start = time.perf_counter()
            network(image)
            times.append(1000 * (time.perf_counter() - start))
        return times

    with torch.inference_mode():
        run(WARM_UPS)
        alone = run(passes)
        with busy_processes(busy):
            run(1)
            return dict(alone=alone, busy=run(passes))


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Context beside which processes compute for nothing, of one thread each."""
    started = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def time_in_turns(spins: Sequence[str], rounds: int, *arguments: object) -> dict[str, dict[str, list[float]]]:
    """Times each spin count in new processes.

    Args:
        spins: Values of GOMP_SPINCOUNT, or `DEFAULT`.
        rounds: Number of processes of each.
        arguments: Those of `time_here`.

    Returns:
        For each spin count, what `time_here` returns, of all its processes.
    """
    times = {spin: dict(alone=[], busy=[]) for spin in spins}
    for number in range(rounds):
        for spin in spins:
            for name, values in _in_new_process(spin, arguments).items():
                times[spin][name] += values
            medians = ', '.join(f'{name} {statistics.median(v):.0f} ms' for name, v in times[spin].items())
            print(f'round {number + 1} of {rounds}, spin count {spin}: {medians}', flush=True)
    return times


def _in_new_process(spin: str, arguments: Sequence[object]) -> dict[str, list[float]]:
    environment = {name: value for name, value in os.environ.items() if name not in OF_THE_USER}
    if spin != DEFAULT:
        environment['GOMP_SPINCOUNT'] = spin
    # Not with -m: as a command of this package, it would set the variable itself.
    code = f'import json; from {__spec__.name} import time_here; print(json.dumps(time_here(*{[*arguments]!r})))'
    done = subprocess.run([sys.executable, '-c', code], env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise UserError(f'the process with the spin count {spin} ended with status {done.returncode}')
    return json.loads(done.stdout.splitlines()[-1])


def table(times: Mapping[str, Mapping[str, Sequence[float]]], arch: str, side: int, busy: int) -> Table:
    """The medians as a table, with the machine below it."""
    columns = [Column('GOMP_SPINCOUNT'), Column('alone, ms', '.0f'), Column(f'beside {busy} busy, ms', '.0f')]
    rows = [
        [spin + (' (what commands set)' if spin == SPINS else ''), *map(statistics.median, parts.values())]
        for spin, parts in times.items()
    ]
    title = f'{arch}, forward, 1 x {side} x {side}, float32'
    return Table(name='busy', title=title, columns=columns, rows=rows, notes=[f'{title}. {sentence(describe("cpu"))}.'])


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--arch', default='fishnet150', help='default: %(default)s')
    parser.add_argument('--side', type=int, default=448, help='side of the image in pixels (default: %(default)s)')
    parser.add_argument('--spins', nargs='+', default=[DEFAULT, SPINS, '0'], help='spin counts (default: %(default)s)')
    parser.add_argument('--passes', type=int, default=5, help='timed passes of a process (default: %(default)s)')
    parser.add_argument('--rounds', type=int, default=2, help='processes of each count (default: %(default)s)')
    parser.add_argument('--busy', type=int, default=1, help='busy processes (default: %(default)s)')
    parser.add_argument('--page', type=Path, help='page to write the table to, between two markers, <!-- busy -->')
    args = parser.parse_args()
    with one_line_errors():
        if args.page:
            split_page(args.page, 'busy')  # before the work, so that a wrong page is reported at once
        times = time_in_turns(args.spins, args.rounds, args.arch, args.side, args.passes, args.busy)
        publish(table(times, args.arch, args.side, args.busy), args.page)


if __name__ == '__main__':
    main()
