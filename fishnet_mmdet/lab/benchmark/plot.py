"""What was measured as one picture: bars of each task, curves over image size and batch where there are several."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from fishnet_mmdet.lab.benchmark.measure import Measurement
from fishnet_mmdet.lab.benchmark.report import Report

COLOURS = {
    'pytorchcv-fishnet99': '#A3ADB8', 'pytorchcv-fishnet150': '#4B5563',
    'fishnet99': '#E69F00', 'fishnet150': '#D55E00', 'fishnet201': '#8C2D04',
    'resnet50': '#0072B2', 'resnext50': '#009E73',
}  # fmt: skip
"""Of a network; the colour-blind can tell them apart. Any other is violet."""

STYLES = [(line, marker) for line in ('-', '--', ':', '-.') for marker in 'osD^v']
"""Line and marker of a form, in the order in which forms appear in a run."""

Looks = Mapping[str, tuple[str, str]]


def draw(report: Report, out: Path) -> None:
    """Draws a report as PNG: a row of panels for each task, time on the left and memory on the right."""
    tasks = _grouped(report.measurements, lambda m: m.task)
    heights = [_height(rows) for rows in tasks.values()]
    figure = Figure(figsize=(13.5, sum(heights) + 1.1), layout='constrained')
    figure.suptitle('FishNet and its peers, timed in turns in one process', x=0.01, ha='left', weight='bold')
    forms = dict.fromkeys(_form(m) for m in report.measurements)
    looks = {form: STYLES[6 * i % len(STYLES)] for i, form in enumerate(forms)}
    for part, (task, rows) in zip(_stacked(figure, heights), tasks.items(), strict=True):
        _task(part, task, rows, looks)
    caption = fill(report.notes()[0], 230)
    figure.supxlabel(caption, fontsize=7.5, color='0.35', x=0.01, ha='left')
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=130)


def _grouped(rows: Sequence[Measurement], by: Callable[[Measurement], object]) -> dict[object, list[Measurement]]:
    groups: dict[object, list[Measurement]] = {}
    for row in rows:
        groups.setdefault(by(row), []).append(row)
    return groups


def _stacked(figure: Figure, heights: Sequence[float]) -> list[SubFigure]:
    return list(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])


def _height(rows: Sequence[Measurement]) -> float:
    if len(_grouped(rows, lambda m: m.size)) > 1:
        return 4.6
    return 1.1 + 0.27 * len(rows)


def _task(part: SubFigure, task: str, rows: list[Measurement], looks: Looks) -> None:
    points = list(_grouped(rows, lambda m: (m.batch, m.height)))
    if len(points) == 1:
        part.suptitle(f'{task}, {rows[0].size}', x=0.01, ha='left', fontsize=11)
        _bars(part, rows)
        return
    part.suptitle(task, x=0.01, ha='left', fontsize=11)
    batch, side = points[0]  # sizes were scanned at the first batch, batches at the first size
    sizes = [m for m in rows if m.batch == batch]
    batches = [m for m in rows if m.height == side]
    scans = [scan for scan in (sizes, batches) if len(_grouped(scan, lambda m: m.size)) > 1]
    axes = part.subplots(1, 2 * len(scans), squeeze=False)[0]
    for i, scan in enumerate(scans):
        _curves(axes[2 * i : 2 * i + 2], scan, looks, over_size=scan is sizes)
    axes[-1].legend(frameon=False, fontsize=7.5, loc='upper left', bbox_to_anchor=(1.01, 1.02), borderaxespad=0)


def _colour(m: Measurement) -> str:
    return COLOURS.get(m.contender.partition(':')[0], '#8A4FA3')


def _form(m: Measurement) -> str:
    return m.contender.partition(':')[2]


def _tidy(axes: Axes, grid: str) -> None:
    axes.grid(axis=grid, color='0.9')
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)


def _bars(part: SubFigure, rows: list[Measurement]) -> None:
    left, right = part.subplots(1, 2, sharey=True, width_ratios=(1.25, 1))
    for place, m in enumerate(rows):
        if m.ms is None:
            left.text(0, place, ' out of memory', va='center', fontsize=8, color='0.35')
            continue
        colour = _colour(m)
        left.barh(place, m.ms.median, color=colour, alpha=0.85, height=0.7)
        left.plot([m.ms.lower, m.ms.upper], [place, place], color='black', lw=1.2, solid_capstyle='butt')
        _beside(left, max(m.ms.median, m.ms.upper), place, f'{m.faster:.2f}x' if m.faster else '')
        right.barh(place, m.peak_mb, color=colour, alpha=0.3, height=0.7)
        right.barh(place, m.graph_mb or 0, color=colour, alpha=0.85, height=0.7)
        _beside(right, max(m.peak_mb, m.graph_mb or 0), place, f'{m.memory:.2f}x' if m.memory else '')
    left.set_yticks(range(len(rows)), [m.contender for m in rows], fontsize=8)
    left.invert_yaxis()
    trains = any(m.graph_mb is not None for m in rows)
    left.set_xlabel('ms, median and quartiles; times as fast')
    right.set_xlabel(
        'MB: kept for backward (dark; times the bytes), peak (light)' if trains else 'MB, peak; times the bytes'
    )
    for axes in (left, right):
        _tidy(axes, 'x')
        axes.margins(y=0.02)
        axes.set_xlim(0, 1.13 * axes.dataLim.x1)


def _beside(axes: Axes, x: float, y: float, text: str) -> None:
    axes.annotate(text, (x, y), (4, 0), textcoords='offset points', va='center', fontsize=8)


def _curves(pair: Sequence[Axes], scan: list[Measurement], looks: Looks, *, over_size: bool) -> None:
    speed, memory = pair
    for contender, rows in _grouped(scan, lambda m: m.contender).items():
        points = sorted((m for m in rows if m.ms), key=lambda m: m.height if over_size else m.batch)
        x = [m.height if over_size else m.batch for m in points]
        colour, (line, marker) = _colour(rows[0]), looks[_form(rows[0])]
        look = dict(color=colour, ls=line, marker=marker, ms=4.5, lw=1.4, mec='white', mew=0.5, label=contender)
        speed.plot(x, [m.ms.median if over_size else m.images_per_s for m in points], **look)
        if over_size:
            quartiles = [m.ms.lower for m in points], [m.ms.upper for m in points]
            speed.fill_between(x, *quartiles, color=colour, alpha=0.12, lw=0)
        memory.plot(x, [m.peak_mb if m.graph_mb is None else m.graph_mb for m in points], **look)
    ticks = sorted({m.height if over_size else m.batch for m in scan})
    speed.set_title('ms, median and quartiles' if over_size else 'images/s', loc='left', fontsize=9.5)
    what = 'peak' if scan[0].graph_mb is None else 'kept after forward'
    memory.set_title(f'MB, {what}', loc='left', fontsize=9.5)
    fixed = f'batch {scan[0].batch}' if over_size else f'{scan[0].height} x {scan[0].width} pixels'
    for axes in pair:
        axes.set(xscale='log', yscale='log')
        axes.set_xticks(ticks, [str(tick) for tick in ticks], rotation=45 if len(ticks) > 4 else 0)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.tick_params(labelsize=8)
        axes.set_xlabel(f'{"side in pixels" if over_size else "images"} ({fixed})', fontsize=9)
        _tidy(axes, 'both')
