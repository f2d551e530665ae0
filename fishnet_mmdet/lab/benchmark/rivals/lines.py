"""What was measured, one line of JSON for each contender of a cell: written when the cell is done, read to go on."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fishnet_mmdet.lab.benchmark.contenders import Contender
from fishnet_mmdet.lab.benchmark.rivals.grid import Cell
from fishnet_mmdet.lab.benchmark.tasks import BenchmarkError

NAME = 'rivals.jsonl'


@dataclass(frozen=True, kw_only=True)
class Line:
    """One contender in one cell.

    Attributes:
        cell: Network of the cell.
        batch: Number of images.
        side: Height and width of the images in pixels.
        network: Network of the contender; pytorchcv's is another one than the cell's.
        form: Its form.
        status: 'timed', 'not installed', 'not offered' or 'failed'.
        reason: Why it is not timed.
        seconds: Seconds of a pass in each round. The i-th ones of a cell's contenders were taken one after the other.
        difference: Largest difference from our eager float32, as a share of the largest value of a level.
        package: Name and version of the runtime, or of torch.
        machine: From `describe`, with the threads of all contenders.
    """

    cell: str
    batch: int
    side: int
    network: str
    form: str
    status: str = 'timed'
    reason: str = ''
    seconds: list[float] = field(default_factory=list)
    difference: float | None = None
    package: str = ''
    machine: dict[str, str | int | bool] = field(default_factory=dict)

    @property
    def contender(self) -> Contender:
        """The contender."""
        return Contender(self.network, self.form)

    @property
    def of(self) -> Cell:
        """The cell."""
        return Cell(self.cell, self.batch, self.side)


Cells = dict[Cell, list[Line]]


def append(file: Path, lines: Iterable[Line]) -> None:
    """Adds the lines of a cell to a file in one write."""
    file.parent.mkdir(parents=True, exist_ok=True)
    is_cut_off = file.is_file() and not ('\n' + file.read_text()).endswith('\n')
    with file.open('a') as out:
        out.write('\n' * is_cut_off)
        out.write(''.join(json.dumps(asdict(line)) + '\n' for line in lines))


def read(file: Path) -> Cells:
    """Reads a file: for each cell the lines of its last measurement; empty if there is no file.

    Raises:
        BenchmarkError: A line that is not of this version of the benchmark.
    """
    cells: Cells = {}
    seen: set[tuple[Cell, Contender]] = set()
    for number, text in enumerate(file.read_text().splitlines() if file.is_file() else (), start=1):
        try:
            line = Line(**json.loads(text))
        except (ValueError, TypeError) as error:
            if not text.endswith('}'):  # cut off in the middle of a write; the cell is measured again
                continue
            raise BenchmarkError(f'{file}:{number} cannot be read ({error}); name another folder with --out') from error
        if (line.of, line.contender) in seen:  # measured again: rounds of different calls do not compare
            cells[line.of] = []
            seen = {(cell, contender) for cell, contender in seen if cell != line.of}
        seen.add((line.of, line.contender))
        cells.setdefault(line.of, []).append(line)
    return cells
