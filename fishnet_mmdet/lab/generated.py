"""Tables on pages of the documentation that a command writes: between `<!-- NAME -->` and `<!-- /NAME -->`."""

import re
from pathlib import Path

from fishnet_mmdet.base.atomic import write_atomically
from fishnet_mmdet.base.errors import UserError


def write_between(page: Path, name: str, text: str) -> None:
    """Replaces what stands between two markers of a page.

    Args:
        page: A Markdown file.
        name: The name in both markers.
        text: The new text, with the end of its last line.

    Raises:
        UserError: The page does not have the markers.
    """
    start, end = f'<!-- {name} -->\n', f'<!-- /{name} -->'
    former = page.read_text(encoding='utf-8')
    fresh, count = re.subn(f'(?<={start}).*?(?={end})', lambda _: text, former, count=1, flags=re.DOTALL)
    if not count:
        raise UserError(f'{page} has no lines {start.strip()} and {end}: add them where the table belongs')
    write_atomically(page, fresh.encode())
