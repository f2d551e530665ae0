"""Times FishNet and its peers and counts their memory, in one process: one table and one plot."""

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fishnet_mmdet.base.config_files import config_folder
from fishnet_mmdet.base.tables import write_tables
from fishnet_mmdet.lab.benchmark.contenders import DEFAULT, QUICK, installed, read_contenders
from fishnet_mmdet.lab.benchmark.detector import DETECTORS, DetectorPlan
from fishnet_mmdet.lab.benchmark.forms import FORMS
from fishnet_mmdet.lab.benchmark.measure import BenchmarkPlan, OnProgress
from fishnet_mmdet.lab.benchmark.networks import NETWORKS
from fishnet_mmdet.lab.benchmark.peaks import set_up
from fishnet_mmdet.lab.benchmark.plot import draw
from fishnet_mmdet.lab.benchmark.report import BenchmarkReport
from fishnet_mmdet.lab.benchmark.rivals import grid, lines
from fishnet_mmdet.lab.benchmark.rivals.measure import RivalsPlan, measure_rivals
from fishnet_mmdet.lab.benchmark.rivals.runtimes import RUNTIMES
from fishnet_mmdet.lab.benchmark.rivals.table import tables
from fishnet_mmdet.lab.benchmark.run import run_benchmark
from fishnet_mmdet.lab.benchmark.tasks import TASKS, BenchmarkError
from fishnet_mmdet.lab.benchmark.timing import Budget
from fishnet_mmdet.lab.machine import describe

MIN_WIDTH = 180
"""Columns of text below which numbers would be cut."""

OUT = Path('work_dirs/benchmark')

DEFAULTS = dict(contenders=DEFAULT, sizes=(), batches=(), seconds=3.0, rounds=5, detector_size=(800, 1344), out=OUT)
"""Flags whose default depends on --quick; without sizes and batches each task has its own."""

QUICK_DEFAULTS = dict(
    contenders=QUICK, sizes=(64,), batches=(1,), seconds=0.0, rounds=2, detector_size=(96, 128),
    # The figures of a measurement that counts stay.
    out=OUT.with_name('benchmark_quick'),
)  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Measures, prints the table and writes the files."""
    fill_in(args)
    # On a machine without a GPU the profiler of a CUDA build prints an error of its own.
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')
    console = Console()
    if args.rivals:
        run_rivals(args, console)
        return
    if args.minutes is not None or args.resume:
        raise BenchmarkError('--minutes, --resume: they need --rivals; without it a call measures all or nothing')
    contenders, remarks = installed(read_contenders(args.contenders))
    if not contenders:
        raise BenchmarkError(f'--contenders {" ".join(args.contenders)}: none can be timed; {remarks[0]}')
    plan = BenchmarkPlan(
        contenders=tuple(contenders),
        tasks=tuple(args.tasks),
        sides=tuple(args.sizes),
        batches=tuple(args.batches),
        device=args.device,
        budget=Budget(seconds=args.seconds, rounds=args.rounds),
    )
    detectors = DetectorPlan(configs=config_folder(), size=tuple(args.detector_size)) if args.detector else None
    for remark in remarks:
        console.print(remark, soft_wrap=True)
    set_up(args.device, tf32=args.tf32 == 'on', threads=args.threads)
    report = BenchmarkReport(describe(args.device), remarks=remarks)
    try:
        measure(plan, detectors, report, args, console)
    except KeyboardInterrupt:
        console.print('interrupted; what was measured so far is shown and kept')
    if report.measurements:
        Console(width=max(console.width, MIN_WIDTH)).print(report.table().on_screen())
        draw(report, args.out / 'benchmark.png')
        console.print(f'benchmark.md, benchmark.json and benchmark.png are in {args.out}', soft_wrap=True)


def measure(
    plan: BenchmarkPlan,
    detectors: DetectorPlan | None,
    report: BenchmarkReport,
    args: argparse.Namespace,
    console: Console,
) -> None:
    """Measures, with a progress bar on a terminal."""
    with progress(console) as on_progress:
        run_benchmark(plan, detectors, report, args.out, on_progress, quick=args.quick)


def run_rivals(args: argparse.Namespace, console: Console) -> None:
    """Measures the cells of the grid that are not in the file yet, prints the tables and writes them."""
    cells = grid.make_grid(args.contenders, args.sizes, args.batches)
    file = args.out / lines.NAME
    known = lines.read(file)
    check_rivals(args, file)
    set_up('cpu', tf32=False, threads=args.threads)
    plan = RivalsPlan(
        grid=cells,
        file=file,
        budget=Budget(seconds=args.seconds, rounds=args.rounds),
        threads=torch.get_num_threads(),
        deadline=time.monotonic() + 60 * (args.minutes if args.minutes is not None else float('inf')),
        machine=describe('cpu'),
    )
    try:
        with progress(console) as on_progress:
            for cell, of_cell in measure_rivals(plan, known, on_progress):
                timed = ', '.join(f'{line.form} {1e3 * min(line.seconds):.4g}' for line in of_cell if line.seconds)
                console.print(f'{cell}: {timed} ms', soft_wrap=True)
    except KeyboardInterrupt:
        console.print('interrupted; the cells that are done are kept')
    done = lines.read(file)
    made = tables(done)
    for table in made if done else ():
        Console(width=max(console.width, MIN_WIDTH)).print(table.on_screen())
    write_tables(made, args.out)
    left = sum(cell not in done for _, row in cells.values() for cell in row)
    more = f'; {left} cells are left: call again with --resume' if left else ''
    console.print(f'{file.name}, rivals.md and differences.md are in {args.out}{more}', soft_wrap=True)


def check_rivals(args: argparse.Namespace, file: Path) -> None:
    """Refuses flags that do not go together with --rivals, and to add to an earlier call's file unasked.

    Raises:
        BenchmarkError: The flag, its value and what to do.
    """
    if args.device != 'cpu' or args.detector:
        raise BenchmarkError('--rivals: leave out --device and --detector; it times inference of backbones on a CPU')
    if args.minutes is not None and not args.minutes >= 0:
        raise BenchmarkError(f'--minutes {args.minutes:g}: must be at least 0')
    if file.is_file() and not args.resume:
        raise BenchmarkError(f'{file} has lines of an earlier call; give --resume to continue, or another --out')


@contextmanager
def progress(console: Console) -> Iterator[OnProgress]:
    """A bar on a terminal, for as long as it is open."""
    columns = (TextColumn('{task.description}'), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as shown:
        bar = shown.add_task('', total=1)

        def on_progress(what: str, done: float) -> None:
            shown.update(bar, description=what, completed=done)

        yield on_progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags."""
    parser.epilog = listing()
    add = parser.add_argument
    add(
        '--contenders',
        nargs='+',
        metavar='NETWORK[:FORM,FORM]',
        help='what to time (default: a choice of each network)',
    )
    add('--tasks', nargs='+', default=list(TASKS), metavar='TASK', help=f'some of {", ".join(TASKS)} (default: all)')
    add('--sizes', nargs='+', type=int, metavar='PIXELS', help="sides of the images (default: each task's own)")
    add('--batches', nargs='+', type=int, metavar='N', help="batch sizes (default: each task's own)")
    add('--device', default='cpu', help='cpu or cuda (default: %(default)s)')
    add('--seconds', type=float, help='seconds of timing for each contender at each size and batch (default: 3)')
    add('--rounds', type=int, help='minimum number of timings of each contender (default: 5)')
    add('--threads', type=int, help="torch's threads on the CPU (default: torch's own choice)")
    add('--tf32', choices=('on', 'off'), default='on', help='TF32 on CUDA, for all contenders (default: %(default)s)')
    add('--detector', action='store_true', help='also time a training iteration of Mask R-CNN')
    add('--detector-size', nargs=2, type=int, metavar=('H', 'W'), help='size of its image (default: 800 1344)')
    add(
        '--rivals',
        action='store_true',
        help='time inference against onnxruntime and OpenVINO instead, each in a process of its own',
    )
    add('--minutes', type=float, metavar='N', help='with --rivals: start no further cell after N minutes')
    add('--resume', action='store_true', help='with --rivals: measure what an earlier call left')
    add(
        '--quick',
        action='store_true',
        help='take seconds: small images, two rounds; tries the tool, figures mean nothing',
    )
    add('--out', type=Path, metavar='DIR', help=f'default: {OUT}; with --quick, {QUICK_DEFAULTS["out"]}')


def fill_in(args: argparse.Namespace) -> None:
    """Fills in the defaults that depend on --quick."""
    defaults = QUICK_DEFAULTS if args.quick else DEFAULTS
    if args.rivals:
        defaults = defaults | dict(contenders=grid.QUICK if args.quick else grid.DEFAULT)
    for flag, default in defaults.items():
        if getattr(args, flag) is None:
            setattr(args, flag, default)


def listing() -> str:
    """Networks, forms and detectors, for `--help`."""
    return '\n'.join(
        [
            f'networks: {", ".join(NETWORKS)}',
            'forms; several can be joined by + (channels_last+amp):',
            *(f'  {name:<24} {form.what}' for name, form in FORMS.items()),
            f'detectors: {", ".join(DETECTORS)}',
            f'further forms with --rivals: {", ".join(RUNTIMES)}',
        ]
    )
