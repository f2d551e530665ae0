"""The blocks of code on a page of the documentation, and what the page says of those that `make test` does not run.

The lines right above a block may hold comments, which readers do not see:

    <!-- not run: it needs a cluster -->           the whole block
    <!-- not run, pip make: they install -->       the lines with one of these words
    <!-- long, train: two minutes -->              run by `make test-long` only
    <!-- run by tests/test_x.py: in two parts -->  run by another test, which names the page

Blocks without a language, and those of `text`, are what a command prints.
"""

import re
import shlex
from dataclasses import dataclass

FENCE = re.compile(r'^( *)```(\w*)$')
MARK = re.compile(
    r'<!-- (?P<kind>not run|long|run by (?P<file>tests/\S+\.py))(?:, (?P<words>[^:]+))?: (?P<reason>.+?) -->'
)
SHELL = ('sh', 'bash', 'console')
OUTPUT = ('', 'text')
LANGUAGES = {*SHELL, *OUTPUT, 'python'}


@dataclass(frozen=True)
class Mark:
    """What a comment above a block says.

    Attributes:
        kind: 'not run', 'long' or 'run by'.
        words: Those that a line must have for the mark to be about it; none for all lines.
        reason: Why.
        file: The test that runs the block; empty if there is no other.
    """

    kind: str
    words: frozenset[str]
    reason: str
    file: str

    def covers(self, line):
        """Whether the mark is about a line."""
        return not self.words or not self.words.isdisjoint(line.split())


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        language: One of `LANGUAGES`.
        text: The code.
        marks: What the page says about it.
    """

    language: str
    text: str
    marks: tuple[Mark, ...]

    def left_out(self, line, long):
        """Whether a line is not run: in `make test`, or (`long`) in `make test-long` either."""
        return any(mark.covers(line) for mark in self.marks if not (long and mark.kind == 'long'))

    def lines(self, long):
        """The lines that are run; in a shell, those that end in a backslash are joined with the next one."""
        text = self.text.replace('\\\n', ' ') if self.language in SHELL else self.text
        lines = text.splitlines()
        if self.language == 'console':
            lines = [line[2:] for line in lines if line.startswith('$ ')]
        return [line for line in lines if not self.left_out(line, long)]

    def commands(self, long):
        """The words of each command of a shell that is run, without comments."""
        found = (shlex.split(line, comments=True) for line in self.lines(long))
        return [words for words in found if words]

    @property
    def has_long_lines(self):
        """Whether `make test-long` runs more of it than `make test`."""
        return self.lines(long=True) != self.lines(long=False)


def blocks_of(text):
    """The blocks of a page, in order."""
    lines, above = text.splitlines(), []
    numbers = iter(range(len(lines)))
    for number in numbers:
        if not (opened := FENCE.match(lines[number])):
            above.append(lines[number])
            continue
        code = []
        for inner in numbers:
            if lines[inner] == f'{opened[1]}```':
                break
            code.append(lines[inner].removeprefix(opened[1]))
        yield Block(opened[2], '\n'.join(code) + '\n', tuple(marks_at_the_end(above)))
        above = []


def marks_at_the_end(lines):
    """The marks in the last lines above a block; blank lines between them do not count."""
    found = []
    for line in reversed([line for line in lines if line.strip()]):
        marks = [
            Mark(
                'run by' if mark['file'] else mark['kind'],
                frozenset((mark['words'] or '').split()),
                mark['reason'],
                mark['file'] or '',
            )
            for mark in MARK.finditer(line)
        ]
        if not marks:
            break
        found = marks + found
    return found
