"""A setting that was chosen for the user, with its reason."""

from dataclasses import dataclass

from fishnet_mmdet.base.text import printable


@dataclass(frozen=True)
class Choice:
    """A setting with its reason: what, why."""

    name: str
    value: str
    reason: str

    def __str__(self) -> str:
        # In one line: names of classes and files are written by others.
        return printable(f'{self.name}: {self.value} - {self.reason}'.replace('\n', r'\n'))
