"""What was measured as one table, and as JSON with every figure unrounded."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fishnet_mmdet.lab.benchmark.machine import Peak, sentence
from fishnet_mmdet.lab.benchmark.measure import Measurement
from fishnet_mmdet.lab.tables import Column, Table

COLUMNS = (
    Column('task, images'), Column('network:form'), Column('ms', '.4g'), Column('quartiles'),
    Column('images/s', '.4g'), Column('faster', '.2f'), Column('kept MB', '.1f'), Column('in graph', '.1f'),
    Column('peak MB', '.1f'),
    Column('memory', '.2f'), Column('GMACs', '.1f'), Column('share', '.0%'),
)  # fmt: skip


@dataclass
class Report:
    """A run: the machine, its peaks, and what was measured so far.

    Attributes:
        machine: From `describe`.
        peaks: From `measure_peaks`.
        measurements: In the order in which they were taken.
        remarks: What a reader has to know, such as a peer that was not there.
    """

    machine: dict[str, str | int | bool]
    peaks: list[Peak] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def table(self) -> Table:
        """One row for each contender at each task and size."""
        return Table(
            name='benchmark',
            title='FishNet and its peers, timed in turns in one process',
            columns=COLUMNS,
            rows=[_row(m) for m in self.measurements],
            notes=self.notes(),
        )

    def notes(self) -> list[str]:
        """The caption: machine, peaks, whom the ratios are against, what the columns are."""
        return [
            f'{sentence(self.machine)}. Peaks measured in this run: {"; ".join(self._peaks())}.',
            f'faster: times as fast, memory: times the bytes (in graph; in inference peak), {self._against()}.',
            'kept: after forward, for backward (in graph) and as features. peak: at once, above weights and image. GMACs: of the convolutions '
            '(x 3 in training, what is recomputed not counted again). share: of the peak in the dtype computed in.',
            *self.remarks,
        ]

    def _peaks(self) -> list[str]:
        highest: dict[str, Peak] = {}
        for peak in sorted(self.peaks, key=lambda peak: peak.gflops):
            highest[peak.dtype] = peak
        return [
            f'{dtype} {p.gflops:,.0f} GFLOP/s ({p.operation}, {p.layout})'
            for dtype, p in sorted(highest.items(), reverse=True)
        ]

    def _against(self) -> str:
        held: dict[str, list[str]] = {}
        for m in self.measurements:
            if m.against:
                network = m.contender.partition(':')[0]
                names = held.setdefault(m.against, [])
                names += [] if network in names else [network]
        return '; '.join(f'against {against}: {", ".join(names)}' for against, names in held.items()) or '-'

    def json(self) -> str:
        """Everything, unrounded."""
        measured = [
            {**asdict(m), 'ms': m.ms and m.ms._asdict()}  # asdict would make it a list
            for m in self.measurements
        ]
        record = {
            'machine': self.machine,
            'peaks': [peak._asdict() for peak in self.peaks],
            'measurements': measured,
            'remarks': self.remarks,
        }
        return json.dumps(record, indent=1) + '\n'

    def write(self, out: Path) -> None:
        """Writes `benchmark.md` and `benchmark.json` into a folder, which is made if need be."""
        out.mkdir(parents=True, exist_ok=True)
        (out / 'benchmark.md').write_text(self.table().markdown())
        (out / 'benchmark.json').write_text(self.json())


def _row(m: Measurement) -> Sequence[str | float | None]:
    if m.ms is None:
        return (f'{m.task}, {m.size}', m.contender, None, 'out of memory', *(None,) * 8)
    return (
        f'{m.task}, {m.size}', m.contender, m.ms.median, f'{m.ms.lower:.4g} - {m.ms.upper:.4g}', m.images_per_s,
        m.faster, m.kept_mb, m.graph_mb, m.peak_mb, m.memory, m.gmacs, m.share,
    )  # fmt: skip
