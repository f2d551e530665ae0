"""Which checkpoint a run goes on from, read safely."""

import itertools
import math
import os
from collections.abc import Callable, Collection, Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import CheckpointLoader

from fishnet_mmdet.errors import UserError
from fishnet_mmdet.weights import reading, torch_files
from fishnet_mmdet.weights.reading import WeightsError

SCHEME = 'fishnet-run://'
"""Before a path: MMEngine reads the whole checkpoint through `read` here."""

POINTER = 'last_checkpoint'
"""MMEngine's file that names the newest checkpoint."""

INTERRUPTED = 'interrupted.pth'
"""The checkpoint of a run that was asked to stop; the next interruption of the same run replaces it."""

WRITTEN = 'written'
"""In a checkpoint's `meta`: seconds since 1970, later than in every checkpoint that its run goes back to."""

CODE = 'config'
"""In a checkpoint's `meta`: a config as text, which MMEngine would execute on a resume. Nothing writes it any more."""

MOST = 2**53
"""Beyond it, a float64 does not tell iterations apart."""

WEIGHTS_ALONE = ('best_',)
"""How names of checkpoints begin that are for testing, without an optimizer."""


class CheckpointError(UserError, RuntimeError):
    """A checkpoint that cannot be written, or none that can be read; the message names file, reason and fix."""


def read(path: Path | str) -> dict[str, Any]:
    """Reads a checkpoint whole, executing nothing, and makes sure that a training can go on from it.

    Raises:
        WeightsError: Damaged, not a checkpoint, weights alone, or with more in it than tensors and plain containers.
    """
    path = Path(path)
    content = _read(path)
    stand(content, path)
    drop_code(content)
    return content


def drop_code(content: Mapping[str, Any]) -> None:
    """Takes out of a checkpoint, in place, what MMEngine would execute."""
    meta = content.get('meta')
    if isinstance(meta, MutableMapping):
        meta.pop(CODE, None)


def _read(path: Path) -> dict[str, Any]:
    try:
        return reading.read_checkpoint(path)
    except WeightsError as error:
        if 'HistoryBuffer' in str(error):
            raise WeightsError(
                f'{path} was written by MMEngine without PlainCheckpoints and holds objects to unpickle: refused. '
                f'tools/plain_checkpoint.py {path} NEW.pth writes what it says in plain form, executing nothing'
            ) from error
        raise


def stand(content: Mapping[str, Any], path: Path) -> tuple[float, int]:
    """Where a training stood when it wrote a checkpoint.

    Args:
        content: The checkpoint.
        path: For messages.

    Returns:
        When it was written, in seconds since 1970 and 0 where it does not say, and its iteration.

    Raises:
        WeightsError: It is not one that a training can go on from.
    """
    meta, state = content.get('meta'), content.get('state_dict')
    counts = [meta.get(key) for key in ('epoch', 'iter')] if isinstance(meta, Mapping) else [None]
    if not isinstance(state, Mapping) or not all(map(_is_count, counts)):
        raise WeightsError(
            f'{path} does not say where a training stood (meta.epoch, meta.iter): it can be loaded, not resumed. '
            'To start from its weights: --cfg-options load_from=FILE'
        )
    if 'optimizer' not in content:
        raise WeightsError(
            f'{path} holds no optimizer: it can be loaded, not resumed. To start from its weights: --cfg-options '
            'load_from=FILE'
        )
    return written_at(meta), counts[1]


def written_at(meta: object) -> float:
    """When a checkpoint of that `meta` was written, in seconds since 1970; 0 where it does not say."""
    seconds = meta.get(WRITTEN) if isinstance(meta, Mapping) else None
    return seconds if isinstance(seconds, float) and math.isfinite(seconds) else 0.0


def _is_count(value: object) -> bool:
    return isinstance(value, int) and 0 <= value < MOST


def folder_of(work_dir: Path | str, out_dir: Path | str | None) -> Path:
    """Where MMEngine's hook, told of an `out_dir`, puts the checkpoints of a run."""
    work_dir = Path(os.path.abspath(work_dir))
    return work_dir if out_dir is None or Path(out_dir) == work_dir else Path(out_dir) / work_dir.name


def newest(folder: Path, pointer: Path, warn: Callable[[str], None]) -> Path | None:
    """The checkpoint written last, of those that can be read whole.

    By what it says itself: a folder may also hold later iterations of a run before, which the present one left behind.

    Args:
        folder: Where checkpoints are.
        pointer: MMEngine's `last_checkpoint`, for a folder without checkpoints; it may be missing, empty, or name a
            file that is gone.
        warn: Gets a line for each file that should have been newer and cannot be used. None is touched.

    Returns:
        The path; None where there is no checkpoint.

    Raises:
        CheckpointError: There are checkpoints and every one is damaged: to start anew should be a decision.
    """
    found: list[tuple[tuple[float, int], Path]] = []
    damaged: list[str] = []
    for path in _candidates(folder, pointer):
        try:
            found.append((_peek(path), path))
        except (WeightsError, OSError) as error:
            damaged.append(str(error))
    chosen = None
    for _, path in sorted(found, key=lambda pair: (pair[0], pair[1].stat().st_mtime_ns), reverse=True):
        try:
            read(path)
        except (WeightsError, OSError) as error:
            damaged.append(str(error))
        else:
            chosen = path
            break
    for line in damaged:
        warn(f'Passed over: {line}')
    if chosen is None and damaged:
        listed = '\n'.join(f'  {line}' for line in damaged)
        raise CheckpointError(
            f'{folder} has no checkpoint that can be read:\n{listed}\nTo start anew, choose another --work-dir, or take '
            'these files away'
        )
    return chosen


def _candidates(folder: Path, pointer: Path) -> list[Path]:
    """The folder's checkpoints; only if it has none, what the pointer names, for it may come from another folder."""
    paths = [path for path in sorted(folder.glob('*.pth')) if not path.name.startswith(WEIGHTS_ALONE)]
    if not paths and pointer.is_file():
        named = pointer.read_bytes().decode(errors='replace').strip('\0 \n')
        paths = [Path(named)] if named and '\0' not in named and Path(named).is_file() else []
    return paths


def later(folder: Path, stood: tuple[float, int]) -> list[str]:
    """The names of checkpoints that `newest` would take rather than one that stood there, as far as they can be read."""
    return [path.name for path, stands in _stands(folder).items() if stands > stood]


def holds(folder: Path, stood: tuple[float, int]) -> bool:
    """Whether one of the folder's checkpoints stands there, as far as they can be read."""
    return any(stands == stood and path.parent == folder for path, stands in _stands(folder).items())


def name_for_interruption(folder: Path, own: Collection[str]) -> str:
    """`INTERRUPTED`, or one like it where another run has left that: it may be all that is left of days.

    Args:
        folder: Where checkpoints are.
        own: Names of those of this run, which it may replace.
    """
    names = (f'interrupted_{number}.pth' for number in itertools.count(2))
    return next(name for name in itertools.chain([INTERRUPTED], names) if name in own or not (folder / name).exists())


def _stands(folder: Path) -> dict[Path, tuple[float, int]]:
    stands = {}
    for path in _candidates(folder, folder / POINTER):
        with suppress(WeightsError, OSError):
            stands[path] = _peek(path)
    return stands


def _peek(path: Path) -> tuple[float, int]:
    """Where a checkpoint stands, without reading its tensors."""
    container = reading.sniff(path, limit=None)
    torch_files.check_calls(path, container)
    try:
        content = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
    except Exception:  # whatever is wrong, the reader has a better word for it
        content = _read(path)
    return stand(content if isinstance(content, Mapping) else {}, path)


@CheckpointLoader.register_scheme(prefixes=SCHEME, force=True)
def load_from_run(filename: str, map_location: Any = None) -> dict[str, Any]:
    """What MMEngine calls for `fishnet-run://PATH`: a whole checkpoint.

    Args:
        filename: The scheme and the path.
        map_location: Not used; tensors come on the CPU, and MMEngine copies them to where they belong.

    Raises:
        WeightsError: As `read`.
    """
    return read(filename.removeprefix(SCHEME))
