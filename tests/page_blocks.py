"""The blocks of code on a page of the documentation, and what the page says of those that no test runs.

The last line above a block may hold a comment, which readers do not see, with the reason:

    <!-- not run: it trains for hours -->        the whole block
    <!-- not run, pip make: they install -->     the lines with one of these words
"""

import re
import shlex
from dataclasses import dataclass

BLOCK = re.compile(r'([^\n]*)\n+```(\w*)\n(.*?)^```$', re.MULTILINE | re.DOTALL)
MARK = re.compile(r'<!-- not run(?:, ([^:]+))?: (.+?) -->')


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        language: 'sh' or 'python'. What a command prints has no language, and is not listed here.
        text: The code.
        left_out: Words of the lines that are not run; None for no line, () for all.
        reason: Why.
    """

    language: str
    text: str
    left_out: tuple[str, ...] | None
    reason: str

    def commands(self):
        """The words of each command that is run; comments are removed, and lines that end in a backslash joined."""
        for line in self.text.replace('\\\n', ' ').splitlines():
            words = shlex.split(line, comments=True)
            if words and not set(words) & set(self.left_out or ()):
                yield words

    @property
    def runs(self):
        """Whether any of it is run."""
        return self.left_out != ()


def blocks_of(text):
    """The blocks of a page, in order."""
    for above, language, code in BLOCK.findall(text):
        if language:
            mark = MARK.search(above)
            left_out = tuple((mark[1] or '').split()) if mark else None
            yield Block(language, code, left_out, mark[2] if mark else '')
