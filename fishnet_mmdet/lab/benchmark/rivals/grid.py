"""What is measured against the runtimes: contenders, and for each network the batches and sizes of images."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fishnet_mmdet.lab.benchmark.contenders import Contender, read_contenders
from fishnet_mmdet.lab.benchmark.networks import NETWORKS
from fishnet_mmdet.lab.benchmark.rivals.runtimes import RUNTIMES
from fishnet_mmdet.lab.benchmark.tasks import BenchmarkError

OF_RUNTIMES = ','.join(RUNTIMES)

DEFAULT = (
    'pytorchcv-fishnet99', f'fishnet99:optimized,optimized-bf16,{OF_RUNTIMES}',
    'pytorchcv-fishnet150', f'fishnet150:optimized,optimized-bf16,{OF_RUNTIMES}',
    f'fishnet201:eager,optimized,optimized-bf16,{OF_RUNTIMES}',
    f'resnet50:eager,channels_last,channels_last+bfloat16,{OF_RUNTIMES}',
)  # fmt: skip
QUICK = ('pytorchcv-fishnet99', f'fishnet99:optimized-bf16,{OF_RUNTIMES}')

POINTS = ((1, 224), (1, 448), (1, 896), (8, 224))
"""Batch and side of the images of a network."""

MORE_POINTS = {'fishnet150': ((1, 672), (1, 1120), (1, 1344), (2, 224), (4, 224)), 'resnet50': ((1, 1344),)}
"""Further ones of some networks."""


class Cell(NamedTuple):
    """One network on one batch: what is timed in turns.

    Attributes:
        network: A name of `NETWORKS`; pytorchcv's network of the same depth belongs to it too.
        batch: Number of images.
        side: Height and width of the images in pixels.
    """

    network: str
    batch: int
    side: int

    def __str__(self) -> str:
        return f'{self.network}, {self.batch} x {self.side} x {self.side}'


Grid = dict[str, tuple[list[Contender], list[Cell]]]
"""For each network its contenders and cells."""


def make_grid(given: Iterable[str], sides: Sequence[int], batches: Sequence[int]) -> Grid:
    """Puts the contenders of a network together with its cells.

    Args:
        given: Contenders as on the command line. Besides the forms of torch, these may name one of `RUNTIMES`.
        sides: Sides of the images at the first batch size; empty for the default of the network.
        batches: Batch sizes at the first side; empty likewise.

    Raises:
        BenchmarkError: A contender that is not known or cannot infer; an invalid side or batch.
    """
    for flag, values, step in (('--sizes', sides, 32), ('--batches', batches, 1)):
        for value in values:
            if value < step or value % step:
                raise BenchmarkError(f'{flag} {value}: must be a multiple of {step}')
    grid: Grid = {}
    for contender in read_rivals(given):
        network = own_network(contender)
        if network not in grid:
            grid[network] = ([], [Cell(network, *point) for point in _points(network, sides, batches)])
        grid[network][0].append(contender)
    return grid


def _points(network: str, sides: Sequence[int], batches: Sequence[int]) -> list[tuple[int, int]]:
    if not sides and not batches:
        return sorted([*POINTS, *MORE_POINTS.get(network, ())])
    sides, batches = sides or (224,), batches or (1,)
    return list(dict.fromkeys([*((batches[0], side) for side in sides), *((batch, sides[0]) for batch in batches)]))


def own_network(contender: Contender) -> str:
    """The network that a contender's cells are named after."""
    return contender.network.removeprefix('pytorchcv-')


def read_rivals(given: Iterable[str]) -> list[Contender]:
    """Reads contenders whose forms are those of torch for inference, or `RUNTIMES`.

    Raises:
        BenchmarkError: One that is not known, cannot infer, or whose network cannot be exported.
    """
    rivals: dict[Contender, None] = {}
    for text in given:
        network, _, forms = text.partition(':')
        for form in forms.split(',') if forms else ('eager',):
            rivals |= dict.fromkeys([_read(network, form)])
    return list(rivals)


def _read(network: str, form: str) -> Contender:
    if form in RUNTIMES and network in NETWORKS:
        if network.startswith('pytorchcv-'):
            raise BenchmarkError(f'contender {network}:{form}: what is exported is our network; give {network[10:]}')
        return Contender(network, form)
    (contender,) = read_contenders([f'{network}:{form}'])
    if 'inference' not in contender.made.tasks:
        raise BenchmarkError(f'contender {contender}: --rivals times inference, and this form is for training')
    return contender
