"""The result of one check."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Diagnosis:
    """The result of one check.

    Attributes:
        name: What was checked.
        state: 'ok', 'note' (a training can run without it) or 'FAIL'.
        text: What was found.
        fix: What to do; empty if nothing is wrong.
    """

    name: str
    state: str
    text: str
    fix: str = ''
