"""How a run shows what it does: a bar, lines, MMEngine's lines, or hardly anything."""

import os
from collections.abc import Mapping
from typing import TextIO

MODES = {
    'auto': 'bar on an interactive terminal, else lines',
    'bar': 'a bar that is drawn again in place',
    'lines': 'short lines',
    'mmengine': "MMEngine's own lines",
    'quiet': 'warnings and the figures of validations and tests',
}
"""The modes, with what each shows."""

NO_CURSOR = ('dumb', 'unknown', '')
"""Values of TERM for terminals that cannot draw a line again. Without TERM, as on Windows, rich knows how."""

NOT_A_PERSON = ('CI', 'JPY_PARENT_PID')
"""Variables of builds and of notebooks, which give their commands a terminal but keep every line of it."""


def resolve(mode: str, stream: TextIO, env: Mapping[str, str] = os.environ) -> str:
    """Returns the mode that a stream can show.

    Args:
        mode: A key of `MODES`. 'bar' becomes 'lines' on what is not a terminal.
        stream: Standard output.
        env: Environment variables.
    """
    if mode not in ('auto', 'bar'):
        return mode
    if not stream.isatty() or env.get('TERM', 'windows') in NO_CURSOR:
        return 'lines'
    return 'lines' if mode == 'auto' and any(env.get(name) for name in NOT_A_PERSON) else 'bar'
