"""The tables of the lines: milliseconds and ratios for each cell, and the differences from float32."""

from statistics import median

from fishnet_mmdet.base.tables import Column, Table
from fishnet_mmdet.lab.benchmark.contenders import Contender, baseline
from fishnet_mmdet.lab.benchmark.rivals.grid import own_network
from fishnet_mmdet.lab.benchmark.rivals.lines import Cells, Line
from fishnet_mmdet.lab.benchmark.rivals.runtimes import RUNTIMES
from fishnet_mmdet.lab.benchmark.timing import quartiles, speed_ratio
from fishnet_mmdet.lab.machine import sentence

HOW = (
    "ms of a pass, median over the rounds; in brackets how many times as fast as pytorchcv's FishNet, or where that is "
    'not timed as our eager form, or else as the first contender (the median of the ratios of each round). Every '
    'contender ran in a process of its own, in turns.'
)


def column_of(contender: Contender) -> str:
    """The heading of a contender: its form, after the package's name if the network is pytorchcv's."""
    return contender.form if contender.network == own_network(contender) else f'pytorchcv {contender.form}'


def tables(cells: Cells) -> list[Table]:
    """The table of times, a row for each cell, and that of differences, a row for each network.

    Args:
        cells: From `lines.read`.
    """
    cells = _in_order(cells)
    names = list(dict.fromkeys(column_of(line.contender) for lines in cells.values() for line in lines))
    names.sort(key=lambda name: (not name.startswith('pytorchcv'), name in RUNTIMES))
    times = Table(
        name='rivals',
        title='FishNet in torch against runtimes of ONNX files',
        columns=[Column('network, images'), *map(Column, names)],
        rows=[_in_columns(str(cell), names, _times(lines)) for cell, lines in cells.items()],
        notes=[HOW, *_notes(cells)],
    )
    worst: dict[str, dict[str, float]] = {}
    for line in (line for lines in cells.values() for line in lines if line.difference is not None):
        of_network = worst.setdefault(line.cell, {})
        name = column_of(line.contender)
        of_network[name] = max(of_network.get(name, 0.0), line.difference)
    differences = Table(
        name='differences',
        title='Largest difference of a level from our eager float32, as a share of its largest value',
        columns=[Column('network'), *(Column(name, '.1e') for name in names)],
        rows=[[network, *(found.get(name) for name in names)] for network, found in worst.items()],
        notes=['The largest one over batches and sizes. Weights are random.'],
    )
    return [times, differences]


def _in_order(cells: Cells) -> Cells:
    """Networks in the order in which they were measured, each with its cells by batch and size."""
    networks = list(dict.fromkeys(cell.network for cell in cells))
    return dict(sorted(cells.items(), key=lambda item: (networks.index(item[0].network), *item[0][1:])))


def _in_columns(first: str, names: list[str], cells: dict[str, str]) -> list[str | None]:
    return [first, *(cells.get(name) for name in names)]


def _times(lines: list[Line]) -> dict[str, str]:
    timed = {line.contender: line.seconds for line in lines if line.status == 'timed'}
    texts = {}
    for line in lines:
        text = line.status
        if line.status == 'timed':
            against = baseline(line.contender, list(timed))
            text = f'{1e3 * median(line.seconds):.4g} ({speed_ratio(line.seconds, timed[against]):.2f})'
        texts[column_of(line.contender)] = text
    return texts


def _notes(cells: Cells) -> list[str]:
    """Machines and versions, what spreads how far, and why what is not timed."""
    lines = [line for lines in cells.values() for line in lines]
    timed = [line for line in lines if line.status == 'timed']
    machines = dict.fromkeys(sentence(line.machine) for line in lines)
    packages = sorted({line.package for line in timed})
    notes = [f'{"; ".join(machines)}. {", ".join(packages)}.']
    if timed:
        rounds = [len(line.seconds) for line in timed]
        notes.append(f'Rounds: {min(rounds)} to {max(rounds)}; half of them within {_spread(timed):.0%} of the median.')
    whys = dict.fromkeys((line.form, line.status, line.reason) for line in lines if line.status != 'timed')
    return notes + [f'{form}: {status}: {reason}.' for form, status, reason in whys]


def _spread(timed: list[Line]) -> float:
    """Distance of the quartiles as a share of the median: the median over all lines."""
    spreads = [quartiles(line.seconds) for line in timed]
    return median((s.upper - s.lower) / s.median for s in spreads)
