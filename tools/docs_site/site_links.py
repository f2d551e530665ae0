"""The pages of the repository and their places in the site; links between them, and to other files."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]

PAGES = {
    'README.md': 'index.md',
    'docs/README.md': 'pages.md',
    'CONTRIBUTING.md': 'contributing.md',
    'CHANGELOG.md': 'changelog.md',
    'SECURITY.md': 'security.md',
}
"""Pages whose place in the site is not their place below docs/."""

FENCE = re.compile(r'^( *)(```+|~~~+).*?^\1\2 *$', re.MULTILINE | re.DOTALL)
LINK = re.compile(r'(?<=\]\()[^)\s]+(?=\))')


def place(path: str) -> str | None:
    """Where a file of the repository is in the site; None for one that is not part of docs/ and is not a page."""
    if path in PAGES:
        return PAGES[path]
    return path.removeprefix('docs/') if path.startswith('docs/') else None


def source(page: str) -> str:
    """The file of the repository that a page of the site shows."""
    return {place: path for path, place in PAGES.items()}.get(page, f'docs/{page}')


def relink(markdown: str, page: str, add_file: Callable[[str], str]) -> str:
    """Turns links between files of the repository into links of the site.

    Args:
        markdown: Text of the page.
        page: The page, as a place in the site.
        add_file: Gets a file of the repository outside the pages, puts it into the site, and returns its place.

    Returns:
        The text; what does not exist stays as it is, so that MkDocs warns.
    """
    folder = posixpath.dirname(source(page))

    def replace(link: re.Match) -> str:
        path, mark, anchor = link[0].partition('#')
        if not path or re.match(r'[a-z]+:', path):
            return link[0]
        target = posixpath.normpath(posixpath.join(folder, path))
        if not (REPO / target).is_file():
            return link[0]
        there = place(target) or add_file(target)
        return posixpath.relpath(there, posixpath.dirname(page) or '.') + mark + anchor

    return outside_fences(markdown, lambda text: LINK.sub(replace, text))


def outside_fences(markdown: str, change: Callable[[str], str]) -> str:
    """Changes the text between blocks of code."""
    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [change(markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return ''.join([*parts, change(markdown[end:])])
