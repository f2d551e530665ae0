"""Tables on pages of the documentation that a command writes: between `<!-- NAME -->` and `<!-- /NAME -->`."""

import re
from pathlib import Path

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.base.tables import Table


def split_page(page: Path, name: str) -> tuple[str, str]:
    """Returns the text of a page up to the end of the first marker, and from the second one on.

    Args:
        page: A Markdown file.
        name: The name in both markers.

    Raises:
        UserError: The page cannot be read, or does not have the markers.
    """
    start, end = f'<!-- {name} -->\n', f'<!-- /{name} -->'
    try:
        text = page.read_text(encoding='utf-8')
    except OSError as error:
        raise UserError(f'{page} cannot be read ({error.strerror}): name a page that is there') from error
    found = re.search(f'({re.escape(start)}).*?({re.escape(end)})', text, flags=re.DOTALL)
    if not found:
        raise UserError(f'{page} has no lines {start.strip()} and {end}: add them where the table belongs')
    return text[: found.end(1)], text[found.start(2) :]


def write_between(page: Path, name: str, text: str) -> None:
    """Replaces what stands between two markers of a page.

    Args:
        page: A Markdown file.
        name: The name in both markers.
        text: The new text, with the end of its last line.

    Raises:
        UserError: The page cannot be read, or does not have the markers.
    """
    before, after = split_page(page, name)
    write_atomically(page, f'{before}{text}{after}'.encode())


def publish(table: Table, page: Path | None) -> None:
    """Prints a table with its notes, and writes it to a page, between the markers with the table's name.

    Args:
        table: The table.
        page: A Markdown file; None to print only.

    Raises:
        UserError: As in `write_between`.
    """
    text = '\n'.join([table.markdown_grid(), *table.notes]) + '\n'
    print(f'\n{text}')
    if page:
        write_between(page, table.name, text)
