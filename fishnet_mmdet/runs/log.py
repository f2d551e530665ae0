"""The log of a run, joined from the files of all its starts.

MMEngine writes `TIMESTAMP/vis_data/scalars.json` for each start: a line of JSON for each logged iteration and for each
validation.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

SCALARS = 'vis_data/scalars.json'
STAMP = re.compile(r'\d{8}_\d{6}')
"""Name of the folder of a start."""

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Validation:
    """One validation.

    Attributes:
        iteration: Last logged iteration before it.
        epoch: Epochs that were trained; None where the run counts iterations only.
        figures: What was measured, under the names of the log.
    """

    iteration: int
    epoch: int | None
    figures: Figures


@dataclass(frozen=True)
class Start:
    """One start of a run.

    Attributes:
        folder: Its folder, named after the time.
        first: First iteration that it logged.
        repeats: Whether an earlier start had logged this iteration or later ones.
    """

    folder: Path
    first: int
    repeats: bool


@dataclass(frozen=True)
class Log:
    """What a run logged. An iteration that was run again after a resume counts once: the later line.

    Attributes:
        training: Logged iterations, oldest first: all figures, and the iteration as `step`.
        validations: Validations, oldest first.
        starts: Starts that trained, oldest first.
        incomplete: Lines that could not be read, such as the last one of a run that was killed.
    """

    training: tuple[Figures, ...]
    validations: tuple[Validation, ...]
    starts: tuple[Start, ...]
    incomplete: int = 0

    def curve(self, key: str) -> tuple[list[int], list[float]]:
        """Iterations and values of a training figure, where it was logged."""
        rows = [row for row in self.training if key in row]
        return [int(row['step']) for row in rows], [row[key] for row in rows]

    @property
    def last(self) -> int:
        """The last logged iteration; 0 if there is none."""
        return int(self.training[-1]['step']) if self.training else 0

    @property
    def epoch_length(self) -> float | None:
        """Iterations of an epoch, from the first logged one of each; None if the log does not show it."""
        first: dict[int, int] = {}
        for row in self.training:
            if 'epoch' in row:
                first.setdefault(int(row['epoch']), int(row['step']))
        lengths = [(first[b] - first[a]) / (b - a) for a, b in pairwise(sorted(first))]
        return median(lengths) if lengths and median(lengths) > 0 else None

    def seconds(self) -> list[float]:
        """Seconds of training up to each logged iteration: the logged time of an iteration times their number.

        Validations, starts, and iterations that were run again are not counted.
        """
        steps = [int(row['step']) for row in self.training]
        gaps = [b - a for a, b in pairwise(steps)]
        # The lines of earlier iterations may be lost.
        begin = min(steps[:1] + [2 * median(gaps)] if gaps else steps[:1], default=0)
        total, sums = 0.0, []
        for row, gap in zip(self.training, [begin, *gaps], strict=True):
            time = row.get('time', 0.0)
            total += gap * time if math.isfinite(time) else 0.0
            sums.append(total)
        return sums


@dataclass
class _Joined:
    training: dict[int, Figures] = field(default_factory=dict)
    validations: dict[tuple[str, int], Validation] = field(default_factory=dict)
    starts: list[Start] = field(default_factory=list)

    def begin(self, folder: Path, first: int) -> None:
        """Drops what a new start runs again."""
        repeats = bool(self.training) and max(self.training) >= first
        self.starts.append(Start(folder, first, repeats))
        self.training = {step: row for step, row in self.training.items() if step < first}
        self.validations = {key: v for key, v in self.validations.items() if v.iteration < first}

    def add(self, rows: list[dict]) -> None:
        # A resumed run may begin with the validation that was interrupted.
        iteration = max(self.training, default=0)
        epoch = self.training.get(iteration, {}).get('epoch')
        if epoch is None:
            # The lines before this start may be lost: then the epoch of its first iteration says how far they went.
            first = next((row['epoch'] for row in rows if is_training(row) and 'epoch' in row), None)
            epoch = None if first is None else int(first) - 1
        for row in rows:
            step = int(row['step'])
            if is_training(row):
                self.training[step] = row
                iteration, epoch = step, int(row['epoch']) if 'epoch' in row else None
            else:
                # By epoch or, with the logger's log_metric_by_epoch=False, by iteration.
                trained = None if epoch is None else step if 0 < step <= epoch + 1 else epoch
                figures = {key.removeprefix('val/'): value for key, value in row.items() if key != 'step'}
                key = ('iteration', iteration) if trained is None else ('epoch', trained)
                self.validations[key] = Validation(iteration, trained, figures)


def read_log(folder: Path) -> Log:
    """Reads the log of a run.

    Args:
        folder: The work dir, or the folder of a single start.

    Returns:
        The log; empty if there is none.
    """
    joined, incomplete = _Joined(), 0
    for file in scalar_files(folder):
        rows, broken = _read(file)
        incomplete += broken
        for part in _by_start(rows):
            first = next((row['step'] for row in part if is_training(row)), None)
            if first is not None:
                joined.begin(file.parent.parent, first)
            # `Runner.val` without training logs a validation at step 0: it is not part of a curve.
            joined.add([row for row in part if row['step'] > 0 or first is not None])
    training = tuple(joined.training[step] for step in sorted(joined.training))
    validations = tuple(sorted(joined.validations.values(), key=lambda v: (v.iteration, v.epoch or 0)))
    return Log(training, validations, tuple(joined.starts), incomplete)


def scalar_files(folder: Path) -> list[Path]:
    """The log files in a work dir or in the folder of a start, oldest first."""
    if (folder / SCALARS).is_file():
        return [folder / SCALARS]
    return sorted(folder.glob(f'*/{SCALARS}'))


def is_training(row: Mapping) -> bool:
    """Whether a line is of an iteration, rather than of a validation."""
    return 'iter' in row or any(key == 'lr' or key.endswith('/lr') for key in row)


def _by_start(rows: list[dict]) -> Iterator[list[dict]]:
    """The lines of each start: two starts within one second share a folder, and so a file."""
    part: list[dict] = []
    last: dict[bool, int] = {}
    for row in rows:
        # A resume may begin with an iteration, or with a validation, that is there already.
        kind = is_training(row)
        if kind in last and row['step'] <= last[kind]:
            yield part
            part, last = [], {}
        last[kind] = row['step']
        part.append(row)
    yield part


def _read(file: Path) -> tuple[list[dict], int]:
    """The lines of a file, and how many cannot be read."""
    rows, broken = [], 0
    for line in file.read_text(errors='replace').splitlines():
        try:
            row = dict(_numbers(json.loads(line)))
            row['step'] = int(row.get('step', row.get('iter')))
            row |= {key: int(row[key]) for key in ('epoch',) if key in row}
        # Not JSON, no mapping, no step, or a number or a nesting that no run writes.
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            broken += bool(line.strip())
        else:
            rows.append(row)
    return rows, broken


def _numbers(line: Mapping) -> Iterator[tuple[str, float]]:
    for key, value in line.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield key.removeprefix('train/'), value
