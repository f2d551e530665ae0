"""Reads a checkpoint once and safely: what was read to verify a file is what MMEngine then gets."""

import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import CheckpointLoader

from fishnet_mmdet.training.checkpoints.position import Position, position_of
from fishnet_mmdet.weights import containers, reading, torch_files

SCHEME = 'fishnet-run://'
"""Prefix of a path; MMEngine loads such an address through `load_from_run`."""

CODE = 'config'
"""Key in a checkpoint's `meta`: config text that MMEngine would execute on a resume. Only old versions write it."""


@dataclass(frozen=True)
class RunCheckpoint:
    """A checkpoint that was read whole and can be resumed from.

    Attributes:
        path: The file.
        position: Its position.
        content: All that it holds.
    """

    path: Path
    position: Position
    content: dict[str, Any]


def read(path: Path | str) -> RunCheckpoint:
    """Reads a checkpoint whole, checksums included, and makes sure that a training can resume from it.

    Nothing in the file is executed.

    Raises:
        WeightsError: The file is damaged, not a checkpoint, holds weights only, or holds more than tensors and plain
            containers.
    """
    path = Path(path)
    content = reading.read_checkpoint(path)
    position = position_of(content, path)
    drop_code(content)
    return RunCheckpoint(path, position, content)


def peek(path: Path) -> Position:
    """Returns the position of a checkpoint without reading its tensors.

    Raises:
        WeightsError: As `read`, except that damaged tensors are not noticed.
        OSError: The file cannot be opened.
    """
    container = containers.sniff(path, limit=None)
    torch_files.check_calls(path, container)
    try:
        content = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
    except Exception:
        # The reader names the cause better than torch does.
        content = reading.read_checkpoint(path)
    return position_of(content if isinstance(content, Mapping) else {}, path)


def drop_code(content: Mapping[str, Any]) -> None:
    """Removes from a checkpoint, in place, the text that MMEngine would execute."""
    meta = content.get('meta')
    if isinstance(meta, MutableMapping):
        meta.pop(CODE, None)


_handed_over: dict[str, dict[str, Any]] = {}
"""Content by path, from `hand_over` until MMEngine asks for it."""


def hand_over(checkpoint: RunCheckpoint) -> None:
    """Keeps a checkpoint until MMEngine asks for its path, with or without `SCHEME`, so that it is not read again."""
    path = str(checkpoint.path)
    _handed_over[path] = checkpoint.content
    CheckpointLoader.register_scheme(prefixes=re.escape(path), loader=load_from_run, force=True)


@CheckpointLoader.register_scheme(prefixes=SCHEME, force=True)
def load_from_run(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Loads a whole checkpoint for MMEngine: the content that was handed over, or else what `read` reads.

    Args:
        filename: The path, with or without `SCHEME`.
        map_location: Not used. Tensors stay on the CPU, and MMEngine copies them to their device.

    Raises:
        WeightsError: As `read`.
    """
    path = filename.removeprefix(SCHEME)
    content = _handed_over.pop(path, None)
    return read(path).content if content is None else content
