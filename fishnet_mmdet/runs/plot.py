"""From work dirs to the files: the page, a PNG of each chart, CSV."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import fishnet_mmdet
from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.base.folders import why_not_writable
from fishnet_mmdet.runs.comparison import compare
from fishnet_mmdet.runs.drawing import draw_classes, draw_panel
from fishnet_mmdet.runs.page import page
from fishnet_mmdet.runs.panels import classes, panels
from fishnet_mmdet.runs.pictures import find_pictures
from fishnet_mmdet.runs.run import RunsError, read_runs
from fishnet_mmdet.runs.tables import csv_files
from fishnet_mmdet.runs.verdict import Verdict, judge

MOST_CLASSES = 100
"""Classes that are drawn; the table and the CSV file have all."""


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        verdict: The answer.
        page: The page.
        files: All files, the page first.
    """

    verdict: Verdict
    page: Path
    files: tuple[Path, ...]


def default_folder(folders: Sequence[Path]) -> Path:
    """Where the page goes: into the work dir of a single run, beside the work dirs of several."""
    return folders[0] / 'plot' if len(folders) == 1 else folders[0].resolve().parent / 'plot'


def plot(
    folders: Sequence[Path],
    out: Path,
    names: Sequence[str] | None = None,
    metric: str | None = None,
    pictures: int = 6,
) -> Written:
    """Reads runs and writes the page, the pictures and the CSV files.

    Args:
        folders: Work dirs.
        out: Folder to write to.
        names: A name for each run.
        metric: The figure to compare the runs by, as the log calls it.
        pictures: Number of images to show with predictions.

    Raises:
        RunsError: A folder holds no run, or a name, the metric or `out` cannot be used.
    """
    if reason := why_not_writable(out):
        raise RunsError(f'--out {reason}; give a folder that can be written')
    c = compare(read_runs(folders, names), metric)
    verdict = judge(c)
    drawn = [(panel, *draw_panel(panel)) for panel in panels(c)]
    groups = [number for number, group in enumerate(c.groups) for _ in group.runs]
    tables = [
        (table, *draw_classes(table, groups, [run.name for run in c.runs], min(len(table.names), MOST_CLASSES)))
        for table in classes(c)
    ]
    made = f'fishnet-mmdet {fishnet_mmdet.__version__} plot, {time.strftime("%Y-%m-%d %H:%M")}'
    html = page(
        c,
        verdict,
        [(panel, svg) for panel, svg, _ in drawn],
        [(table, svg) for table, svg, _ in tables],
        find_pictures(c.runs, pictures, out),
        made,
    )
    content = {'index.html': html.encode()}
    content |= {f'{panel.slug}.png': png for panel, _, png in drawn}
    content |= {f'classes{f"_{table.kind}" if table.kind else ""}.png': png for table, _, png in tables}
    content |= {name: text.encode() for name, text in csv_files(c, [table for table, _, _ in tables]).items()}
    for name, data in content.items():
        write_atomically(out / name, data)
    return Written(verdict, out / 'index.html', tuple(out / name for name in content))
