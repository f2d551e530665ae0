"""The measurements as one table, and as JSON with every figure unrounded."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fishnet_mmdet.base.tables import Column, Table, Value
from fishnet_mmdet.lab.benchmark.measurement import Measurement
from fishnet_mmdet.lab.benchmark.peaks import Peak
from fishnet_mmdet.lab.machine import sentence

COLUMNS = (
    Column('task, images'), Column('network:form'), Column('ms', '.4g'), Column('quartiles'),
    Column('images/s', '.4g'), Column('faster', '.2f'), Column('kept MB', '.1f'), Column('in graph', '.1f'),
    Column('peak MB', '.1f'),
    Column('memory', '.2f'), Column('GMACs', '.1f'), Column('share', '.0%'),
)  # fmt: skip

COLUMN_NOTES = (
    'kept: after the forward pass, for the backward pass (in graph) and as features. peak: at once, above weights and '
    'image. GMACs: of the convolutions (x 3 in training; what is recomputed is not counted again). share: of the peak '
    'in the dtype that the form computes in.'
)


@dataclass
class BenchmarkReport:
    """One run of the benchmark: the machine, its peaks, and what is measured so far.

    Attributes:
        machine: From `describe`.
        peaks: From `measure_peaks`.
        measurements: In the order in which they were taken.
        remarks: What a reader has to know, such as a package that was not installed.
    """

    machine: dict[str, str | int | bool]
    peaks: list[Peak] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def table(self) -> Table:
        """One row for each contender in each case."""
        return Table(
            name='benchmark',
            title='FishNet and its peers, timed in turns in one process',
            columns=COLUMNS,
            rows=[_row(m) for m in self.measurements],
            notes=self.notes(),
        )

    def notes(self) -> list[str]:
        """The notes below the table: machine and peaks, what the ratios are against, what the columns mean."""
        return [
            f'{sentence(self.machine)}. Peaks measured in this run: {"; ".join(self._peaks())}.',
            f'faster: times as fast, memory: times the bytes (in graph; in inference peak), {self._against()}.',
            COLUMN_NOTES,
            *self.remarks,
        ]

    def _peaks(self) -> list[str]:
        """The highest peak of each dtype."""
        highest: dict[str, Peak] = {}
        for peak in sorted(self.peaks, key=lambda peak: peak.gflops):
            highest[peak.dtype] = peak
        return [
            f'{dtype} {p.gflops:,.0f} GFLOP/s ({p.operation}, {p.memory_format})'
            for dtype, p in sorted(highest.items(), reverse=True)
        ]

    def _against(self) -> str:
        compared: dict[str, list[str]] = {}
        for m in self.measurements:
            if m.ratios:
                network = m.contender.partition(':')[0]
                names = compared.setdefault(m.ratios.against, [])
                names += [] if network in names else [network]
        return '; '.join(f'against {against}: {", ".join(names)}' for against, names in compared.items()) or '-'

    def json(self) -> str:
        """Everything, unrounded."""
        record = {
            'machine': self.machine,
            'peaks': [peak._asdict() for peak in self.peaks],
            'measurements': [m.record() for m in self.measurements],
            'remarks': self.remarks,
        }
        return json.dumps(record, indent=1) + '\n'

    def write(self, out: Path) -> None:
        """Writes `benchmark.md` and `benchmark.json` into a folder, and creates the folder if necessary."""
        out.mkdir(parents=True, exist_ok=True)
        (out / 'benchmark.md').write_text(self.table().markdown())
        (out / 'benchmark.json').write_text(self.json())


def _row(m: Measurement) -> Sequence[Value]:
    if m.timing is None:
        return (str(m.case), m.contender, None, 'out of memory', *(None,) * 8)
    ms, memory = m.timing.ms, m.memory
    gmacs, share = (m.rate.gmacs, m.rate.share) if m.rate else (None, None)
    return (
        str(m.case), m.contender, ms.median, f'{ms.lower:.4g} - {ms.upper:.4g}', m.timing.images_per_s,
        m.ratios.faster, memory.kept_mb, memory.graph_mb, memory.peak_mb, m.ratios.memory, gmacs, share,
    )  # fmt: skip
