"""A table of numbers and text: on screen, as Markdown and as JSON."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table as ScreenTable
from rich.text import Text

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.base.text import printable

Value = str | int | float | None


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        name: The heading.
        form: Format specification of its numbers; empty for a column of text.
    """

    name: str
    form: str = ''


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with unrounded numbers, which can be shown on screen, as Markdown or as JSON.

    Attributes:
        name: Name of its files, without ending.
        title: Heading above the table.
        columns: What each value of a row is.
        rows: Values in the order of the columns; None where a value is missing.
        notes: Sentences below the table.
        sections: Numbers of rows that have a line above them on screen.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Value]]
    notes: Sequence[str] = ()
    sections: Sequence[int] = ()

    def cells(self, row: Sequence[Value]) -> list[str]:
        """A row as text; '-' where a value is missing."""
        pairs = zip(row, self.columns, strict=True)
        return [
            '-' if v is None else v.replace('|', '/') if isinstance(v, str) else format(v, c.form) for v, c in pairs
        ]

    def on_screen(self) -> ScreenTable:
        """The table for rich's console."""
        caption = plain('\n'.join(self.notes)) if self.notes else None
        table = ScreenTable(title=plain(self.title), title_justify='left', caption=caption)
        table.caption_justify = 'left'
        for column in self.columns:
            table.add_column(column.name, justify='right' if column.form else 'left')
        for number, row in enumerate(self.rows):
            if number in self.sections:
                table.add_section()
            table.add_row(*map(plain, self.cells(row)))
        return table

    def text(self, width: int = 120) -> str:
        """The table as on a screen of a width, in plain text, for logs."""
        console, grid = Console(width=width, color_system=None), self.on_screen()
        # Rich would wrap the title to the width of the table.
        grid.title = None
        with console.capture() as capture:
            console.print(grid)
        return f'{printable(self.title)}\n{capture.get()}'

    def markdown(self) -> str:
        """The title, the table and the notes as Markdown."""
        notes = ''.join(f'\n{note}\n' for note in self.notes)
        return f'# {self.title}\n\n{self.markdown_grid()}{notes}'

    def markdown_grid(self) -> str:
        """The table alone as Markdown, without title and notes."""
        head = [column.name for column in self.columns]
        align = ['---:' if column.form else '---' for column in self.columns]
        return ''.join(f'| {" | ".join(cells)} |\n' for cells in (head, align, *map(self.cells, self.rows)))

    def json(self) -> str:
        """The table as JSON: rows as objects, with unrounded numbers."""
        names = [column.name for column in self.columns]
        rows = [dict(zip(names, row, strict=True)) for row in self.rows]
        return json.dumps({'title': self.title, 'rows': rows, 'notes': list(self.notes)}, indent=1) + '\n'


def plain(text: str) -> Text:
    """A text for rich that is shown as it is: names that others gave may hold what rich or a terminal would obey."""
    return Text(printable(text))


def write_tables(tables: Iterable[Table], out: Path) -> None:
    """Writes each table as NAME.md and NAME.json into a folder, and creates the folder if necessary."""
    for table in tables:
        write_atomically(out / f'{table.name}.md', table.markdown().encode())
        write_atomically(out / f'{table.name}.json', table.json().encode())
