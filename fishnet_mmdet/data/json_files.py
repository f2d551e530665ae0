"""Reads JSON files that others wrote, and quotes their values in messages."""

import json
import stat
from pathlib import Path

from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.base.startup import collector_paused

MAX_BYTES = 2 * 2**30
"""The largest file that is read by default: several times the size of COCO's largest."""


class FormatError(UserError, ValueError):
    """A file, or a value in one, that does not follow its format; the message says what is wrong."""


def read_json(path: Path | str, max_bytes: float = MAX_BYTES) -> object:
    """Reads a JSON file.

    Args:
        path: The file.
        max_bytes: The largest size that is read.

    Raises:
        FormatError: The file does not exist, is not a regular file, is too large, or is not JSON.
    """
    try:
        status = Path(path).stat()
        # Reading from a pipe or a device may never end.
        if not stat.S_ISREG(status.st_mode):
            raise FormatError(f'{path}: not a regular file')
        if status.st_size > max_bytes:
            raise FormatError(f'{path}: has {status.st_size:,} bytes, and at most {max_bytes:,.0f} are read')
        if not status.st_size:
            raise FormatError(f'{path}: has zero bytes')
        text = Path(path).read_text(encoding='utf-8')
        with collector_paused():
            return json.loads(text)
    except FormatError:
        raise
    except OSError as error:
        raise FormatError(f'{path}: cannot be read: {error.strerror}') from error
    except UnicodeDecodeError as error:
        raise FormatError(f'{path}: not UTF-8, as JSON has to be: save it in this encoding ({error})') from error
    # A ValueError is text that is not JSON, or a number with too many digits.
    except (ValueError, RecursionError) as error:
        raise FormatError(f'{path}: not JSON: {error}') from error


def brief(value: object, length: int = 60) -> str:
    """Quotes a value in at most `length` characters; control characters in texts are escaped."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**length:
        return f'a number of more than {length} digits'
    try:
        text = repr(value[:length] if isinstance(value, str | list) else value)
    except RecursionError:
        text = f'a {type(value).__name__} that is nested too deeply'
    return text if len(text) <= length else f'{text[: length - 3]}...'
