"""The figures of runs as tables: CSV files of every logged number, and the rows of the page."""

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median

from fishnet_mmdet.runs.classes import Classes
from fishnet_mmdet.runs.comparison import Comparison, name_in_group
from fishnet_mmdet.runs.metrics import describe
from fishnet_mmdet.runs.run import Run
from fishnet_mmdet.runs.settings import differences
from fishnet_mmdet.runs.verdict import duration

Cell = float | int | str | None


def csv_files(c: Comparison, per_class: Sequence[Classes]) -> dict[str, str]:
    """The CSV files by name; numbers are those of the log, and what the log calls -1 or NaN is an empty cell.

    Args:
        c: The runs.
        per_class: AP of each class.
    """
    files = {
        'training.csv': _csv(
            {'run': run.name, 'iteration': int(row['step']), **{k: v for k, v in row.items() if k not in OF_LINES}}
            for run in c.runs
            for row in run.log.training
        ),
        'validations.csv': _csv(
            {
                'run': run.name,
                'iteration': v.iteration,
                'epoch': v.epoch,
                'training_seconds': round(run.seconds_at(v), 3),
                **{key: _known(key, value) for key, value in v.figures.items()},
            }
            for run in c.runs
            for v in run.log.validations
        ),
        'settings.csv': _csv(
            {'setting': d.key, **dict(zip((run.name for run in c.runs), d.texts(), strict=True))}
            for d in (differences([run.settings for run in c.runs]) if all(run.settings for run in c.runs) else ())
        ),
        'classes.csv': _csv(
            {'class': name, 'type': table.kind, 'run': run.name, 'at': at, 'AP_percent': column[i]}
            for table in per_class
            for i, name in enumerate(table.names)
            for run, column, at in zip(c.runs, table.values, table.at, strict=True)
        ),
    }
    return {name: text for name, text in files.items() if text}


OF_LINES = ('step', 'iter')


ITERATION, WAITING = 'time of an iteration', 'of it waiting for data'
OF_TIMES = {
    'training time': 'Training time: the sum of the logged times of iterations, without validations, starts, and work '
    'that was lost.',
    ITERATION: 'Time of an iteration: the median.',
    WAITING: 'Waiting for data: the part of it in which the next batch was not loaded yet.',
}
"""What titles of columns mean."""

SIZES = {
    's': 'small objects (below 32 x 32 pixels)',
    'm': 'medium objects (32 x 32 to 96 x 96 pixels)',
    'l': 'large objects (above 96 x 96 pixels)',
}
"""COCO's sizes of objects."""


def _known(key: str, value: float) -> Cell:
    metric = describe(key)
    return value if metric is None or metric.shown(value) is not None else None


def _csv(rows: Iterable[Mapping[str, Cell]]) -> str:
    rows = list(rows)
    if not rows:
        return ''
    columns = list(dict.fromkeys(key for row in rows for key in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def overview(c: Comparison) -> tuple[list[str], list[list[str]]]:
    """The table of the runs: titles of the columns and a row of texts for each run, in the order of `c.runs`."""
    others = _further(c)
    kind = _kind(c)
    titles = [
        *([f'best {c.metric.title}', 'best at', f'{"AP" if kind else c.metric.title} at the end'] if c.metric else []),
        *(describe(key).title.removeprefix(kind) for key in others),
        'progress', 'training time', ITERATION, WAITING, 'GPU memory', 'log written',
    ]  # fmt: skip
    rows = [[*_figures(c, run, others), *_costs(run)] for run in c.runs]
    # A column that no run fills is left out.
    kept = [i for i in range(len(titles)) if any(row[i] != '-' for row in rows)]
    return [titles[i] for i in kept], [[row[i] for i in kept] for row in rows]


def _kind(c: Comparison) -> str:
    """'bbox ' or 'segm ', which need not stand in the title of each column; '' of other figures."""
    return c.metric.title.removesuffix('AP') if c.metric and c.metric.title.endswith(' AP') else ''


def _further(c: Comparison) -> list[str]:
    """The figures beside the first one, such as AP50 and AP by size."""
    if not c.metric:
        return []
    beginning = c.metric.key.removesuffix('mAP')
    keys = dict.fromkeys(key for run in c.runs for v in run.log.validations for key in v.figures)
    if c.metric.key.endswith('mAP'):
        of_kind = [key for key in keys if key.startswith(f'{beginning}mAP_') and describe(key)]
    else:
        of_kind = [key for key in keys if (m := describe(key)) and m.unit and key != c.metric.key][:5]
    return of_kind


def _figures(c: Comparison, run: Run, others: Sequence[str]) -> list[str]:
    if not c.metric:
        return []
    best = run.best(c.metric)
    if not best:
        return ['-'] * (3 + len(others))
    shown = [(m, m.shown(best.validation.figures.get(key))) for key in others if (m := describe(key))]
    end, last = run.points(c.metric)[-1]
    where = run.where(best.validation) + (', the last' if end == best.validation else '')
    texts = ['-' if value is None else metric.text(value) for metric, value in shown]
    return [c.metric.text(best.value), where, c.metric.text(last), *texts]


def _costs(run: Run) -> list[str]:
    times, loading = (run.log.curve(key)[1] for key in ('time', 'data_time'))
    memory = [value for value in run.log.curve('memory')[1] if math.isfinite(value)]
    return [
        run.progress,
        duration(run.seconds) if run.seconds else '-',
        f'{1000 * median(times):.0f} ms' if times else '-',
        f'{1000 * median(loading):.0f} ms' if loading else '-',
        f'{max(memory) / 1024:.1f} GiB' if memory else '-',
        run.written if run.unfinished else '-',
    ]


def explained(c: Comparison) -> list[str]:
    """What a reader of the table of the runs may ask: what its words mean, and why figures are missing."""
    titles = overview(c)[0]
    others = _further(c)
    kind = _kind(c)
    lines = []
    if kind and others:
        lines.append('AP50 and the like: at the same validation as the best AP.')
    lines += [f'No {names}: {why}.' for names, why in _missing(c, others)]
    lines.append(' '.join(text for title, text in OF_TIMES.items() if title in titles))
    return list(filter(None, lines))


def _missing(c: Comparison, keys: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Figures that no validation has a value for, although they were logged."""
    for size, text in SIZES.items():
        of_size = [key for key in keys if key.endswith(f'_{size}')]
        found = [describe(k).shown(v.figures.get(k)) for run in c.runs for v in run.log.validations for k in of_size]
        if found and all(value is None for value in found):
            yield f'AP_{size.upper()}', f'the validation data have no {text}, so there is nothing to measure'


def tests(c: Comparison) -> tuple[list[str], list[list[str]]]:
    """Figures of the newest test of each run that was tested; no rows if there is none."""
    known = dict.fromkeys(key for run in c.runs for key in run.tested if (m := describe(key)) and m.unit)
    keys = [key for key in known if not re.search(r'_precision$|_AR|mAP_[sml]$', key)][:10]
    rows = []
    for run in c.runs:
        values = [(m := describe(key), m.shown(run.tested.get(key))) for key in keys]
        rows.append(['-' if value is None else metric.text(value) for metric, value in values])
    return [describe(key).title for key in keys], rows if keys else []


def notes(c: Comparison) -> list[str]:
    """What a reader should know about the logs: resumes, repeated iterations, lines that cannot be read, NaN."""
    found = []
    for run in c.runs:
        name = name_in_group(run, next(group for group in c.groups if run in group.runs))
        for start in run.log.starts[1:]:
            again = '; what an earlier start had logged from there on is left out' if start.repeats else ''
            found.append(f'{name}: start {start.folder.name} logs from iteration {start.first} on{again}.')
        if run.log.incomplete:
            found.append(f'{name}: {run.log.incomplete} incomplete line(s) of the log are left out.')
        steps, losses = run.log.curve('loss')
        bad = next((step for step, loss in zip(steps, losses, strict=True) if not math.isfinite(loss)), None)
        if bad is not None:
            found.append(f'{name}: the loss is not finite at iteration {bad}.')
        if not run.settings:
            found.append(f'{name}: the work dir has no copy of the config, so settings cannot be compared.')
    return found
