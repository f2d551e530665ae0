"""The errors of this room."""

from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.base.text import printable


class WeightsError(UserError, RuntimeError):
    """Weights that cannot be found, downloaded, read or fitted; the message names the file, the reason and the fix.

    A message may quote a file, such as the names of its keys. Characters that are not printable, such as the control
    codes of a terminal, are escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class ForeignObjects(WeightsError):
    """A file asks for more than tensors and plain containers. It was refused, and nothing was executed."""
