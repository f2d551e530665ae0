"""Which checkpoint a run resumes from."""

import itertools
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from fishnet_mmdet.training.checkpoints.position import CheckpointError, Position
from fishnet_mmdet.training.checkpoints.reader import RunCheckpoint, peek, read
from fishnet_mmdet.weights.errors import WeightsError

POINTER = 'last_checkpoint'
"""MMEngine's file that names the newest checkpoint."""

INTERRUPTED = 'interrupted.pth'
"""The checkpoint of a run that was asked to stop; the next interruption of the same run replaces it."""

WEIGHTS_ONLY = ('best_',)
"""Prefixes of the names of checkpoints that are for testing and hold no optimizer."""


@dataclass(frozen=True)
class Survey:
    """The checkpoints of a folder, looked at once. No tensor is read for it.

    Attributes:
        folder: The folder.
        positions: The position of each checkpoint, by path.
        damaged: One message for each file that has no position.
    """

    folder: Path
    positions: Mapping[Path, Position]
    damaged: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path, pointer: Path) -> 'Survey':
        """Looks into a folder.

        Args:
            folder: The folder of the checkpoints; it may be missing.
            pointer: MMEngine's `last_checkpoint`, for a folder without checkpoints. It may be missing, be empty, or
                name a file that is gone.
        """
        positions, damaged = {}, []
        for path in _candidates(folder, pointer):
            try:
                positions[path] = peek(path)
            except (WeightsError, OSError) as error:
                damaged.append(str(error))
        return cls(folder, positions, tuple(damaged))

    def newest(self, warn: Callable[[str], None]) -> RunCheckpoint | None:
        """Reads the checkpoint that was written last, of those that can be read whole.

        The order is by what the files say of themselves. A folder may also hold later iterations of an earlier run.

        Args:
            warn: Called with a line for each file that cannot be used. No file is changed.

        Returns:
            The checkpoint; None where there is none.

        Raises:
            CheckpointError: There are checkpoints and every one is damaged. Starting again must be the user's decision.
        """
        damaged = list(self.damaged)
        chosen = None
        for path in sorted(self.positions, key=self._age, reverse=True):
            try:
                chosen = read(path)
                break
            except (WeightsError, OSError) as error:
                damaged.append(str(error))
        for line in damaged:
            warn(f'Skipped: {line}')
        if chosen is None and damaged:
            listed = '\n'.join(f'  {line}' for line in damaged)
            raise CheckpointError(
                f'{self.folder} has no checkpoint that can be read:\n{listed}\nTo start from the beginning, choose '
                'another --work-dir, or move these files away'
            )
        return chosen

    def _age(self, path: Path) -> tuple[Position, int]:
        return self.positions[path], path.stat().st_mtime_ns

    def later_than(self, position: Position) -> list[str]:
        """Returns the names of the checkpoints that `newest` would prefer to one of this position."""
        return [path.name for path, other in self.positions.items() if other > position]

    def holds(self, position: Position) -> bool:
        """Returns whether a checkpoint of this position lies in the folder."""
        return any(other == position and path.parent == self.folder for path, other in self.positions.items())


def newest(folder: Path, pointer: Path, warn: Callable[[str], None]) -> RunCheckpoint | None:
    """Looks into a folder and reads its newest checkpoint; see `Survey.of` and `Survey.newest`."""
    return Survey.of(folder, pointer).newest(warn)


def folder_of(work_dir: Path | str, out_dir: Path | str | None) -> Path:
    """Returns where MMEngine's checkpoint hook, given `out_dir`, writes the checkpoints of a run."""
    work_dir = Path(os.path.abspath(work_dir))
    return work_dir if out_dir is None or Path(out_dir) == work_dir else Path(out_dir) / work_dir.name


def name_for_interruption(folder: Path, own: Collection[str]) -> str:
    """Returns `INTERRUPTED`, or a numbered name where another run has left such a file, which may be its only one.

    Args:
        folder: The folder of the checkpoints.
        own: Names of the checkpoints of this run, which it may replace.
    """
    names = (f'interrupted_{number}.pth' for number in itertools.count(2))
    return next(name for name in itertools.chain([INTERRUPTED], names) if name in own or not (folder / name).exists())


def _candidates(folder: Path, pointer: Path) -> list[Path]:
    """The folder's checkpoints, and the file that the pointer names if it has none or that file has another ending."""
    paths = [path for path in sorted(folder.glob('*.pth')) if not path.name.startswith(WEIGHTS_ONLY)]
    if pointer.is_file():
        text = pointer.read_bytes().decode(errors='replace').strip('\0 \n')
        named = Path(text) if text and '\0' not in text else None
        # It may lie elsewhere, or have a name by `filename_tmpl`.
        if named and named.is_file() and (not paths or named.suffix != '.pth'):
            paths.append(named)
    return paths
