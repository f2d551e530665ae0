"""The errors of this room."""

from fishnet_mmdet.base.errors import UserError


class WeightsError(UserError, RuntimeError):
    """Weights that cannot be found, downloaded, read or fitted; the message names the file, the reason and the fix.

    A message may quote a file, such as the names of its keys. Characters that are not printable, such as the control
    codes of a terminal, are escaped.
    """

    def __init__(self, message: str) -> None:
        shown = (c if c.isprintable() or c == '\n' else repr(c)[1:-1] for c in message)
        super().__init__(''.join(shown))


class ForeignObjects(WeightsError):
    """A file asks for more than tensors and plain containers. It was refused, and nothing was executed."""
