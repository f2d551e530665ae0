"""A line made of fields, which leaves out the least important ones where it is too long."""

from collections.abc import Sequence
from typing import NamedTuple

GAP = '  '


class Field(NamedTuple):
    """A part of a line.

    Attributes:
        text: What it says; nothing is shown of an empty one.
        rank: Fields with the highest rank are left out first; 0 always stays.
    """

    text: str
    rank: int = 0


def fit(fields: Sequence[Field], width: int) -> list[str]:
    """Returns the texts that fit into a width with `GAP` between them, in their order.

    Of fields with the same rank, the last one is left out first. If the fields of rank 0 alone are too long, the last
    of them is cut.
    """
    kept = [field for field in fields if field.text]
    while length(kept) > width and any(field.rank for field in kept):
        worst = max(range(len(kept)), key=lambda index: (kept[index].rank, index))
        del kept[worst]
    texts = [field.text for field in kept]
    if texts and (excess := length(kept) - width) > 0:
        texts[-1] = texts[-1][: max(0, len(texts[-1]) - excess)]
    return texts


def length(fields: Sequence[Field]) -> int:
    """Characters of a line of fields."""
    return sum(len(field.text) for field in fields) + len(GAP) * max(0, len(fields) - 1)


def duration(seconds: float) -> str:
    """A time as 0:07, 12:34, 3:12:34 or 2 d 03:12."""
    minutes, seconds = divmod(int(max(0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f'{hours // 24} d {hours % 24:02d}:{minutes:02d}'
    return f'{hours}:{minutes:02d}:{seconds:02d}' if hours else f'{minutes}:{seconds:02d}'


def pace(seconds: float) -> str:
    """The time of an iteration, with three digits."""
    return f'{1000 * seconds:.0f} ms/iter' if seconds < 0.1 else f'{seconds:.3g} s/iter'
