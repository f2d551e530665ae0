"""One run of the benchmark: peaks, contenders, detectors, written to disk after each part."""

from pathlib import Path

from fishnet_mmdet.lab.benchmark.detector import DetectorPlan, measure_detectors
from fishnet_mmdet.lab.benchmark.measure import BenchmarkPlan, OnProgress, measure
from fishnet_mmdet.lab.benchmark.peaks import measure_peaks
from fishnet_mmdet.lab.benchmark.report import BenchmarkReport


def run_benchmark(
    plan: BenchmarkPlan,
    detectors: DetectorPlan | None,
    report: BenchmarkReport,
    out: Path,
    on_progress: OnProgress,
    *,
    quick: bool = False,
) -> None:
    """Measures, and adds what is measured to a report, which is written after each case.

    Args:
        plan: Contenders, tasks and sizes.
        detectors: Whole detectors to time too; None for none.
        report: Receives peaks and measurements.
        out: Folder for `benchmark.md` and `benchmark.json`.
        on_progress: Called before each part of the work.
        quick: Whether to measure the machine's peaks with small shapes.
    """
    report.peaks += measure_peaks(
        plan.device, quick=quick, on_done=lambda done: on_progress('peaks of the machine', done)
    )
    for rows in measure(plan, report.peaks, on_progress):
        report.measurements += rows
        report.write(out)
    if detectors:
        report.measurements += measure_detectors(detectors, plan.budget, plan.device, on_progress)
        report.write(out)
