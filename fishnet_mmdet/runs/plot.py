"""From work dirs to the files: the page, a PNG of each chart, CSV."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.base.folders import why_not_writable
from fishnet_mmdet.runs.class_drawing import draw_classes
from fishnet_mmdet.runs.classes import classes, spread
from fishnet_mmdet.runs.comparison import compare
from fishnet_mmdet.runs.drawing import draw_panel
from fishnet_mmdet.runs.page import page
from fishnet_mmdet.runs.panels import panels
from fishnet_mmdet.runs.pictures import find_pictures
from fishnet_mmdet.runs.run import RunsError, read_runs
from fishnet_mmdet.runs.tables import csv_files
from fishnet_mmdet.runs.verdict import Verdict, judge


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        verdict: The answer.
        page: The page.
        files: All files, with the page.
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
    *,
    names: Sequence[str] | None = None,
    metric: str | None = None,
    pictures: int = 6,
    grouped: bool = True,
) -> Written:
    """Reads runs and writes the page, the pictures and the CSV files.

    Args:
        folders: Work dirs.
        out: Folder to write to.
        names: A name for each run.
        metric: The figure to compare the runs by, as the log calls it.
        pictures: Number of images to show with predictions.
        grouped: Whether runs that differ only in their seeds are one group.

    Raises:
        RunsError: A folder holds no run, or a name, the metric or `out` cannot be used.
    """
    if reason := why_not_writable(out):
        raise RunsError(f'--out {reason}; give a folder that can be written')
    if pictures < 0:
        raise RunsError(f'--pictures {pictures} must be 0 or more')
    # WORK_DIRS/* matches the page of an earlier call too.
    folders = [folder for folder in folders if folder.resolve() != out.resolve()] or folders
    c = compare(read_runs(folders, names), metric, grouped)
    verdict = judge(c)
    with warnings.catch_warnings():
        # Matplotlib's font lacks the letters of some names; the page shows them in the fonts of the browser.
        warnings.filterwarnings('ignore', message='Glyph', category=UserWarning)
        tables = classes(c)
        shown = [*panels(c), *(spread(table, c) for table in tables if table.left_out)]
        progress = track(shown, 'drawing', console=Console(stderr=True))
        charts = [(panel, *draw_panel(panel)) for panel in progress]
        per_class = [(table, *draw_classes(table)) for table in tables]
    content = {f'{panel.slug}.png': png for panel, _, png in charts}
    content |= {f'classes{f"_{table.kind}" if table.kind else ""}.png': png for table, _, png in per_class}
    content |= {name: text.encode() for name, text in csv_files(c, tables).items()}
    content['index.html'] = page(
        c,
        verdict,
        [(panel, svg) for panel, svg, _ in charts],
        [(table, svg) for table, svg, _ in per_class],
        find_pictures(c.runs, pictures, out),
        f'fishnet-mmdet plot, {time.strftime("%Y-%m-%d %H:%M")}',
    ).encode()
    for name, data in content.items():
        write_atomically(out / name, data)
    return Written(verdict, out / 'index.html', tuple(out / name for name in content))
