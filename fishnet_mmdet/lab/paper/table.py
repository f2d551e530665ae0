"""A table of numbers and words: on screen, as Markdown and as JSON."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

Value = str | int | float | None


class Column(NamedTuple):
    """A column of a table: its name, and how its numbers are printed (a format specification)."""

    name: str
    form: str = ''


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with its numbers unrounded, to be shown on screen, as Markdown or as JSON.

    Attributes:
        name: Of its files.
        title: Says what it is.
        columns: What each value of a row is.
        rows: Values in the order of the columns; None where there is none.
        notes: Sentences beneath.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Value]]
    notes: Sequence[str] = ()

    def cells(self, row: Sequence[Value]) -> list[str]:
        """A row as text; '-' where there is no value."""
        pairs = zip(row, self.columns, strict=True)
        return [
            '-' if v is None else v.replace('|', '/') if isinstance(v, str) else format(v, c.form) for v, c in pairs
        ]

    def on_screen(self) -> Table:
        """The table for rich's console."""
        table = Table(title=self.title, title_justify='left', caption='\n'.join(self.notes) or None)
        table.caption_justify = 'left'
        for column in self.columns:
            table.add_column(column.name, justify='right' if column.form else 'left')
        for row in self.rows:
            table.add_row(*self.cells(row))
        return table

    def markdown(self) -> str:
        """The table as Markdown."""
        head = [column.name for column in self.columns]
        align = ['---:' if column.form else '---' for column in self.columns]
        lines = [f'# {self.title}', '']
        lines += (f'| {" | ".join(cells)} |' for cells in (head, align, *map(self.cells, self.rows)))
        lines += (line for note in self.notes for line in ('', note))
        return '\n'.join(lines) + '\n'

    def json(self) -> str:
        """The table as JSON: rows as objects, their numbers unrounded."""
        names = [column.name for column in self.columns]
        rows = [dict(zip(names, row, strict=True)) for row in self.rows]
        return json.dumps({'title': self.title, 'rows': rows, 'notes': list(self.notes)}, indent=1) + '\n'


def write_tables(tables: Iterable[Table], out: Path) -> None:
    """Writes each table as NAME.md and NAME.json into a folder, which is made if need be."""
    out.mkdir(parents=True, exist_ok=True)
    for table in tables:
        (out / f'{table.name}.md').write_text(table.markdown())
        (out / f'{table.name}.json').write_text(table.json())
