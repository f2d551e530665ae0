#!/usr/bin/env python
"""Times FishNet against its peers and counts their bytes: one table, one plot, in one process and one run."""

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fishnet_mmdet.lab.benchmark.contenders import (
    DEFAULT,
    FORMS,
    NETWORKS,
    QUICK,
    TASKS,
    BenchmarkError,
    installed,
    read_contenders,
)
from fishnet_mmdet.lab.benchmark.detector import DETECTORS, check_detectors, measure_detectors
from fishnet_mmdet.lab.benchmark.machine import describe, measure_peaks, set_up
from fishnet_mmdet.lab.benchmark.measure import Plan, measure
from fishnet_mmdet.lab.benchmark.plot import draw
from fishnet_mmdet.lab.benchmark.report import Report
from fishnet_mmdet.lab.benchmark.timing import Budget

CONFIGS = Path(__file__).resolve().parent.parent / 'configs'
WIDTH = 180  # at least, or the numbers would be cut
DEFAULTS = dict(contenders=DEFAULT, sizes=(), batches=(), seconds=3.0, rounds=5, detector_size=(800, 1344))
"""Of flags whose default depends on --quick; no size and no batch: each task has its own."""

QUICK_DEFAULTS = dict(contenders=QUICK, sizes=(64,), batches=(1,), seconds=0.0, rounds=2, detector_size=(96, 128))


def main() -> None:
    """Parses the flags, measures, prints, writes."""
    # On a machine without a GPU the profiler of a CUDA build would write an error of its own on the screen.
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')
    args = parse()
    console = Console()
    try:
        contenders, remarks = installed(read_contenders(args.contenders))
        if not contenders:
            raise BenchmarkError(f'--contenders {" ".join(args.contenders)}: none is left; {remarks[0]}')
        plan = Plan(
            contenders=tuple(contenders),
            tasks=tuple(args.tasks),
            sides=tuple(args.sizes),
            batches=tuple(args.batches),
            device=args.device,
            budget=Budget(seconds=args.seconds, rounds=args.rounds),
        )
        if args.detector:
            check_detectors(CONFIGS, tuple(args.detector_size))
    except BenchmarkError as error:
        sys.exit(f'error: {error}')

    for remark in remarks:
        console.print(remark, soft_wrap=True)
    set_up(args.device, tf32=args.tf32 == 'on', threads=args.threads)
    report = Report(describe(args.device), remarks=remarks)
    try:
        run(args, plan, report, console)
    except KeyboardInterrupt:
        console.print('interrupted; what was measured so far is shown and kept')
    if report.measurements:
        Console(width=max(console.width, WIDTH)).print(report.table().on_screen())
        draw(report, args.out / 'benchmark.png')
        console.print(f'benchmark.md, benchmark.json and benchmark.png are in {args.out}', soft_wrap=True)


def parse() -> argparse.Namespace:
    """The flags, those of --quick filled in."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='\n'.join(
            [
                f'networks: {", ".join(NETWORKS)}',
                'forms, one or more joined by + (channels_last+amp):',
                *(f'  {name:<20} {form.what}' for name, form in FORMS.items()),
                f'detectors: {", ".join(DETECTORS)}',
            ]
        ),
    )
    add = parser.add_argument
    add(
        '--contenders',
        nargs='+',
        metavar='NETWORK[:FORM,FORM]',
        help='who (default: a choice of all networks)',
    )
    add(
        '--tasks',
        nargs='+',
        default=list(TASKS),
        metavar='TASK',
        help=f'of {", ".join(TASKS)} (default: all)',
    )
    add(
        '--sizes',
        nargs='+',
        type=int,
        metavar='PIXELS',
        help="sides of the images (default: each task's own)",
    )
    add('--batches', nargs='+', type=int, metavar='N', help="images at once (default: each task's own)")
    add('--device', default='cpu', help='cpu or cuda (default: %(default)s)')
    add('--seconds', type=float, help='timing for each contender at each size and batch (default: 3)')
    add('--rounds', type=int, help='at least so many timings of each (default: 5)')
    add('--threads', type=int, help="of torch on the CPU (default: torch's own choice)")
    add('--tf32', choices=('on', 'off'), default='on', help='on CUDA, for all alike (default: %(default)s)')
    add('--detector', action='store_true', help='also a training iteration of Mask R-CNN')
    add('--detector-size', nargs=2, type=int, metavar=('H', 'W'), help='of its image (default: 800 1344)')
    add(
        '--quick',
        action='store_true',
        help='seconds: small images, two rounds; shows the way, measures nothing',
    )
    add('--out', type=Path, default=Path('work_dirs/benchmark'), metavar='DIR', help='default: %(default)s')
    args = parser.parse_args()
    for flag, default in (QUICK_DEFAULTS if args.quick else DEFAULTS).items():
        if getattr(args, flag) is None:
            setattr(args, flag, default)
    return args


def run(args: argparse.Namespace, plan: Plan, report: Report, console: Console) -> None:
    """Measures section by section, with progress on a terminal, and keeps what is there after each."""
    columns = (TextColumn('{task.description}'), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task('', total=1)

        def say(what: str, done: float) -> None:
            progress.update(bar, description=what, completed=done)

        report.peaks += measure_peaks(
            args.device, quick=args.quick, on_done=lambda done: say("the machine's peak", done)
        )
        for rows in measure(plan, report.peaks, say):
            report.measurements += rows
            report.write(args.out)
        if args.detector:
            size = (args.detector_size[0], args.detector_size[1])
            report.measurements += measure_detectors(CONFIGS, size, plan.budget, args.device, say)
            report.write(args.out)


if __name__ == '__main__':
    main()
