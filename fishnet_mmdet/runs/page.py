"""The page: one HTML file that needs nothing else."""

import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from fishnet_mmdet.runs.classes import Classes
from fishnet_mmdet.runs.comparison import Comparison, Group, name_in_group
from fishnet_mmdet.runs.drawing import COLOURS, ON_DARK, dash
from fishnet_mmdet.runs.panels import Panel
from fishnet_mmdet.runs.pictures import Shown, inlined
from fishnet_mmdet.runs.run import Run
from fishnet_mmdet.runs.settings import SEED, at
from fishnet_mmdet.runs.tables import explained, notes, overview, tests
from fishnet_mmdet.runs.verdict import Standing, Verdict

SECTIONS = {
    'Quality': 'A ring marks the best validation.',
    'Losses': 'Strong: a running mean over a twentieth of the points. Faint: as logged, where it is within the axes.',
    'Training': 'Strong: a running mean, of times a running median.',
}
"""Sections of charts, with what to know to read them."""


def page(
    c: Comparison,
    verdict: Verdict,
    charts: Sequence[tuple[Panel, str]],
    per_class: Sequence[tuple[Classes, str]],
    pictures: Sequence[Shown],
    made: str,
) -> str:
    """The page.

    Args:
        c: The runs.
        verdict: The answer, which stands first.
        charts: Panels with their SVG.
        per_class: AP of each class, with its SVG.
        pictures: Images with the predictions of the runs.
        made: How and when the page was made.
    """
    parts = [
        f'<h1>{_coloured(verdict.answer, c)}</h1>',
        f'<ol class="standings">{"".join(_standing(s, c) for s in verdict.standings)}</ol>',
        f'<ul class="details">{"".join(f"<li>{_coloured(line, c)}</li>" for line in verdict.details)}</ul>',
        _legend(c) if len(c.runs) > 1 else '',
        _charts('Quality', charts),
        _runs(c),
        _classes(per_class, charts, c),
        _charts('Losses', charts),
        _charts('Training', charts),
        _settings(c),
        _pictures(pictures, c),
        _notes(c),
        f'<footer>{escape(made)}</footer>',
    ]
    return _document(verdict.answer, '\n'.join(filter(None, parts)))


def _document(title: str, body: str) -> str:
    light, dark = (
        f':root {{ {" ".join(f"--c{i}: {colour};" for i, colour in enumerate(colours))} }}'
        for colours in (COLOURS, ON_DARK)
    )
    here = files('fishnet_mmdet.runs')
    style = f'{(here / "page.css").read_text()}{light}\n@media (prefers-color-scheme: dark) {{ {dark} }}'
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{style}
</style>
</head>
<body>
<main>
{body}
</main>
<script>
{(here / 'page.js').read_text()}</script>
</body>
</html>
"""


def _hue(group: Group, c: Comparison) -> str:
    return f'--c: var(--c{c.groups.index(group) % len(COLOURS)})'


def _group_of(run: Run, c: Comparison) -> Group:
    return next(group for group in c.groups if run in group.runs)


def _name(run: Run, c: Comparison) -> str:
    return name_in_group(run, _group_of(run, c))


def _coloured(text: str, c: Comparison) -> str:
    """Text with the names of groups in their colours."""
    groups = {escape(group.name): group for group in c.groups}
    if len(groups) < 2:
        return escape(text)
    names = '|'.join(re.escape(name) for name in sorted(groups, key=len, reverse=True))
    return re.sub(
        rf'(?<![\w/]){"(" + names + ")"}(?![\w/])',
        lambda match: f'<b class="run" style="{_hue(groups[match[1]], c)}">{match[1]}</b>',
        escape(text),
    )


def _standing(s: Standing, c: Comparison) -> str:
    unit = (
        f' <small>{escape(c.metric.title)}{", %" if c.metric.unit else ""}</small>'
        if c.metric and s.value != '-'
        else ''
    )
    where = escape(s.where).replace('; ', '<br>')
    return (
        f'<li style="{_hue(s.group, c)}"><div class="name">{escape(s.group.name)}</div>'
        f'<div class="value">{escape(s.value)}{unit}</div><div class="where">{where}</div></li>'
    )


def _legend(c: Comparison) -> str:
    entries = []
    for group in c.groups:
        for place, run in enumerate(group.runs):
            style = dash(c.groups.index(group), place)
            pattern = '' if style == '-' else f' stroke-dasharray="{" ".join(str(3 * n) for n in style[1])}"'
            line = f'<svg viewBox="0 0 30 8"><path d="M0 4H30" stroke="var(--c)" stroke-width="3"{pattern}/></svg>'
            entries.append(f'<span style="{_hue(group, c)}">{line}{escape(name_in_group(run, group))}</span>')
    return f'<div class="legend" aria-label="Runs and their lines">{"".join(entries)}</div>'


def _charts(section: str, charts: Sequence[tuple[Panel, str]]) -> str:
    figures = _figures(charts, section)
    if not figures:
        return ''
    smooth = any(line.smooth for panel, _ in charts if panel.section == section for line in panel.lines)
    return (
        f'<h2>{section}</h2>{_caption(SECTIONS[section] if smooth or section == "Quality" else "")}'
        f'<div class="charts">{figures}</div>'
    )


def _figures(charts: Sequence[tuple[Panel, str]], section: str) -> str:
    return ''.join(
        f'<figure role="img" aria-label="{escape(panel.title)} over {escape(panel.x_label)}">{svg}</figure>'
        for panel, svg in charts
        if panel.section == section
    )


def _caption(text: str) -> str:
    return f'<figcaption>{escape(text)}</figcaption>' if text else ''


def _table(kind: str, head: Iterable[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """A table; the first cell of a row is HTML, the others are text."""
    titles = ''.join(f'<th>{escape(title)}</th>' for title in head)
    body = ''.join(f'<tr><th>{first}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>' for first, cells in rows)
    return (
        f'<div class="table"><table class="{kind}"><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _key(run: Run, c: Comparison, folder: bool = False) -> str:
    place = f'<small>{escape(str(run.folder))}</small>' if folder else ''
    return f'<span class="key" style="{_hue(_group_of(run, c), c)}"></span>{escape(_name(run, c))}{place}'


def _runs(c: Comparison) -> str:
    titles, rows = overview(c)
    html = '<h2>Runs</h2>' + _table(
        'numbers',
        ['', *titles],
        [(_key(run, c, True), [escape(x) for x in row]) for run, row in zip(c.runs, rows, strict=True)],
    )
    html += ''.join(map(_caption, explained(c)))
    titles, rows = tests(c)
    if rows:
        tested = [(_key(run, c), row) for run, row in zip(c.runs, rows, strict=True) if run.tested]
        html += (
            '<h2>Tests</h2>' + _caption('The newest test in the work dir.') + _table('numbers', ['', *titles], tested)
        )
    return html


def _classes(per_class: Sequence[tuple[Classes, str]], charts: Sequence[tuple[Panel, str]], c: Comparison) -> str:
    # Without a figure of all classes, no validation is the best one.
    if not per_class or not c.metric:
        return ''
    order = 'Largest difference first.' if len(c.groups) > 1 else 'Best first.'
    seeds = ' A large dot is the mean of the runs of a group.' if len(c.runs) > len(c.groups) else ''
    absent = any(set(row) == {None} for table, _ in per_class for row in zip(*table.values, strict=True))
    none = ' "-": the validation data have no objects of the class.' if absent else ''
    places = set(per_class[0][0].at)
    where = f'At the best validation by {c.metric.title} ({places.pop()}).' if len(places) == 1 else ''
    where = where or f'At the best validation of each run by {c.metric.title}, which the table of the runs names.'
    note = f'{order} {where}{seeds}{none}'
    figures = ''.join(f'<figure role="img" aria-label="AP of each class">{svg}</figure>' for _, svg in per_class)
    figures += _figures(charts, 'Classes')
    tables = ''.join(_class_table(table, c) for table, _ in per_class)
    return (
        f'<h2>Classes</h2>{_caption(note)}<div class="charts">{figures}</div>'
        f'<details><summary>As a table</summary>{tables}</details>'
    )


def _class_table(table: Classes, c: Comparison) -> str:
    rows = [
        (escape(name), ['-' if column[i] is None else f'{column[i]:.1f}' for column in table.values])
        for i, name in enumerate(table.names)
    ]
    return _table('numbers', [f'{table.kind} AP, %'.strip(), *(_name(run, c) for run in c.runs)], rows)


def _settings(c: Comparison) -> str:
    if len(c.runs) < 2 or not all(run.settings for run in c.runs):
        return ''
    seeds = ', '.join(dict.fromkeys(str(at(run.settings, SEED, 'none')) for run in c.runs))
    same = not any(d.key == SEED for d in c.differences)
    note = f'Each with the seeds {seeds}.' if same and len(c.runs) > len(c.groups) else ''
    html = f'<h2>Settings that differ</h2>{_caption(note)}'
    if not c.differences:
        return f'{html}<p>None: the configs are the same{" but for the seeds" if note else ""}.</p>'
    rows = [
        (f'<code>{_breakable(d.key)}</code>', [f'<code>{escape(text)}</code>' for text in d.texts(wrap=True)])
        for d in c.differences
    ]
    return html + _table('settings', ['setting', *(group.name for group in c.groups)], rows)


def _breakable(key: str) -> str:
    return re.sub(r'([.\[])', r'<wbr>\1', escape(key))


def _pictures(pictures: Sequence[Shown], c: Comparison) -> str:
    rows = []
    for shown in pictures:
        images = [(run, inlined(file)) for run, file in zip(c.runs, shown.files, strict=True) if file]
        figures = ''.join(
            f'<figure><img src="{data}" alt="{escape(shown.name)}, predictions of {escape(run.name)}">'
            f'<figcaption>{_key(run, c)}, {escape(shown.name)}</figcaption></figure>'
            for run, data in images
            if data
        )
        rows.append(figures)
    rows = list(filter(None, rows))
    if not rows:
        return ''
    # A row for each image; the pictures of a single run fill the rows.
    body = ''.join(f'<div>{row}</div>' for row in (rows if len(c.runs) > 1 else [''.join(rows)]))
    note = 'As the run left them; MMDetection draws the annotations on the left and the predictions on the right.'
    return f'<h2>Predictions</h2>{_caption(note)}<div class="pictures">{body}</div>'


def _notes(c: Comparison) -> str:
    lines = notes(c)
    return (
        f'<h2>Notes on the logs</h2><ul class="details">{"".join(f"<li>{escape(x)}</li>" for x in lines)}</ul>'
        if lines
        else ''
    )
