"""The measurements as one picture: bars for each task, or curves over image size and batch where there are several."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from fishnet_mmdet.lab.benchmark.measurement import Measurement
from fishnet_mmdet.lab.benchmark.report import BenchmarkReport

COLOURS = {
    'pytorchcv-fishnet99': '#A3ADB8', 'pytorchcv-fishnet150': '#4B5563',
    'fishnet99': '#E69F00', 'fishnet150': '#D55E00', 'fishnet201': '#8C2D04',
    'resnet50': '#0072B2', 'resnext50': '#009E73',
}  # fmt: skip
"""Colour of a network; people with colour blindness can tell them apart."""

OTHER_COLOUR = '#8A4FA3'
"""Colour of a network that `COLOURS` does not name."""

STYLES = [(line, marker) for line in ('-', '--', ':', '-.') for marker in 'osD^v']
"""Line and marker of a form, in the order in which forms appear in a run."""

FormStyles = Mapping[str, tuple[str, str]]


def draw(report: BenchmarkReport, out: Path) -> None:
    """Draws a report as PNG: a row of panels for each task, time on the left and memory on the right.

    Args:
        report: The measurements.
        out: The file to write; its folder is created if necessary.
    """
    tasks = _grouped(report.measurements, lambda m: m.case.task)
    heights = [_height(rows) for rows in tasks.values()]
    figure = Figure(figsize=(13.5, sum(heights) + 1.1), layout='constrained')
    figure.suptitle('FishNet and its peers, timed in turns in one process', x=0.01, ha='left', weight='bold')
    forms = dict.fromkeys(_form(m) for m in report.measurements)
    styles = {form: STYLES[6 * i % len(STYLES)] for i, form in enumerate(forms)}
    for part, (task, rows) in zip(_stacked(figure, heights), tasks.items(), strict=True):
        _task(part, task, rows, styles)
    caption = fill(report.notes()[0], 230)
    figure.supxlabel(caption, fontsize=7.5, color='0.35', x=0.01, ha='left')
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=130)


def _grouped(rows: Sequence[Measurement], by: Callable[[Measurement], object]) -> dict[object, list[Measurement]]:
    groups: dict[object, list[Measurement]] = {}
    for row in rows:
        groups.setdefault(by(row), []).append(row)
    return groups


def _by_case(rows: Sequence[Measurement]) -> dict[object, list[Measurement]]:
    return _grouped(rows, lambda m: m.case)


def _stacked(figure: Figure, heights: Sequence[float]) -> list[SubFigure]:
    return list(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])


def _height(rows: Sequence[Measurement]) -> float:
    if len(_by_case(rows)) > 1:
        return 4.6
    return 1.1 + 0.27 * len(rows)


def _task(part: SubFigure, task: str, rows: list[Measurement], styles: FormStyles) -> None:
    if len(_by_case(rows)) == 1:
        part.suptitle(str(rows[0].case), x=0.01, ha='left', fontsize=11)
        _bars(part, rows)
        return
    part.suptitle(task, x=0.01, ha='left', fontsize=11)
    # Sizes are measured at the first batch size, batch sizes at the first image size.
    first = rows[0].case
    sizes = [m for m in rows if m.case.batch == first.batch]
    batches = [m for m in rows if m.case.height == first.height]
    scans = [scan for scan in (sizes, batches) if len(_by_case(scan)) > 1]
    axes = part.subplots(1, 2 * len(scans), squeeze=False)[0]
    for i, scan in enumerate(scans):
        speed, memory = axes[2 * i : 2 * i + 2]
        _curves(speed, memory, scan, styles, over_size=scan is sizes)
        _label_curves(speed, memory, scan, over_size=scan is sizes)
    axes[-1].legend(frameon=False, fontsize=7.5, loc='upper left', bbox_to_anchor=(1.01, 1.02), borderaxespad=0)


def _colour(m: Measurement) -> str:
    return COLOURS.get(m.contender.partition(':')[0], OTHER_COLOUR)


def _form(m: Measurement) -> str:
    return m.contender.partition(':')[2]


def _tidy(axes: Axes, grid: str) -> None:
    axes.grid(axis=grid, color='0.9')
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)


def _bars(part: SubFigure, rows: list[Measurement]) -> None:
    left, right = part.subplots(1, 2, sharey=True, width_ratios=(1.25, 1))
    for place, m in enumerate(rows):
        if m.timing is None:
            left.text(0, place, ' out of memory', va='center', fontsize=8, color='0.35')
            continue
        colour, ms, memory = _colour(m), m.timing.ms, m.memory
        left.barh(place, ms.median, color=colour, alpha=0.85, height=0.7)
        left.plot([ms.lower, ms.upper], [place, place], color='black', lw=1.2, solid_capstyle='butt')
        _beside(left, max(ms.median, ms.upper), place, f'{m.ratios.faster:.2f}x')
        right.barh(place, memory.peak_mb, color=colour, alpha=0.3, height=0.7)
        right.barh(place, memory.graph_mb or 0, color=colour, alpha=0.85, height=0.7)
        _beside(right, max(memory.peak_mb, memory.graph_mb or 0), place, f'{m.ratios.memory:.2f}x')
    left.set_yticks(range(len(rows)), [m.contender for m in rows], fontsize=8)
    left.invert_yaxis()
    trains = any(m.memory and m.memory.graph_mb is not None for m in rows)
    left.set_xlabel('ms, median and quartiles; times as fast')
    right.set_xlabel(
        'MB: kept for backward (dark; times the bytes), peak (light)' if trains else 'MB, peak; times the bytes'
    )
    for axes in (left, right):
        _tidy(axes, 'x')
        axes.margins(y=0.02)
        # Without a bar, there is no limit.
        if 0 < axes.dataLim.x1 < float('inf'):
            axes.set_xlim(0, 1.13 * axes.dataLim.x1)


def _beside(axes: Axes, x: float, y: float, text: str) -> None:
    axes.annotate(text, (x, y), (4, 0), textcoords='offset points', va='center', fontsize=8)


def _curves(speed: Axes, memory: Axes, scan: list[Measurement], styles: FormStyles, *, over_size: bool) -> None:
    for contender, rows in _grouped(scan, lambda m: m.contender).items():
        points = sorted((m for m in rows if m.timing), key=lambda m: _scanned(m, over_size))
        x = [_scanned(m, over_size) for m in points]
        colour, (line, marker) = _colour(rows[0]), styles[_form(rows[0])]
        style = dict(color=colour, ls=line, marker=marker, ms=4.5, lw=1.4, mec='white', mew=0.5, label=contender)
        speed.plot(x, [m.timing.ms.median if over_size else m.timing.images_per_s for m in points], **style)
        if over_size:
            quartiles = [m.timing.ms.lower for m in points], [m.timing.ms.upper for m in points]
            speed.fill_between(x, *quartiles, color=colour, alpha=0.12, lw=0)
        memory.plot(x, [m.memory.compared_mb for m in points], **style)


def _scanned(m: Measurement, over_size: bool) -> int:
    return m.case.height if over_size else m.case.batch


def _label_curves(speed: Axes, memory: Axes, scan: list[Measurement], *, over_size: bool) -> None:
    ticks = sorted({_scanned(m, over_size) for m in scan})
    trains = any(m.memory and m.memory.graph_mb is not None for m in scan)
    speed.set_title('ms, median and quartiles' if over_size else 'images/s', loc='left', fontsize=9.5)
    memory.set_title(f'MB, {"kept after forward" if trains else "peak"}', loc='left', fontsize=9.5)
    case = scan[0].case
    fixed = f'batch {case.batch}' if over_size else f'{case.height} x {case.width} pixels'
    for axes in (speed, memory):
        if not any(m.timing for m in scan):
            axes.text(0.5, 0.5, 'out of memory', ha='center', fontsize=8, color='0.35', transform=axes.transAxes)
            continue
        axes.set(xscale='log', yscale='log')
        axes.set_xticks(ticks, [str(tick) for tick in ticks], rotation=45 if len(ticks) > 4 else 0)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.tick_params(labelsize=8)
        axes.set_xlabel(f'{"side in pixels" if over_size else "images"} ({fixed})', fontsize=9)
        _tidy(axes, 'both')
