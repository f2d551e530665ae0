"""What is measured of one contender at one task and size."""

from dataclasses import asdict, dataclass
from typing import NamedTuple

from fishnet_mmdet.lab.benchmark.timing import Spread


@dataclass(frozen=True, kw_only=True)
class Case:
    """A task at one batch size and image size; contenders are compared within a case.

    Attributes:
        task: Title of the task.
        batch: Number of images in a batch.
        height: Height of the images in pixels.
        width: Width of the images in pixels.
    """

    task: str
    batch: int
    height: int
    width: int

    @property
    def size(self) -> str:
        """Batch, height and width as text."""
        return f'{self.batch} x {self.height} x {self.width}'

    def __str__(self) -> str:
        return f'{self.task}, {self.size}'


class Timing(NamedTuple):
    """The time of a forward pass or of a training step.

    Attributes:
        ms: Milliseconds, median and quartiles over the rounds.
        rounds: Number of timings.
        images_per_s: Images per second at the median.
    """

    ms: Spread
    rounds: int
    images_per_s: float


class MemoryUse(NamedTuple):
    """Memory in 1e6 bytes.

    Attributes:
        kept_mb: Kept after the forward pass, for the backward pass and as returned features; None in inference.
        graph_mb: The part of it that the backward pass needs, without the features; None in inference.
        peak_mb: Most at once during the pass or step, above weights and image.
    """

    kept_mb: float | None
    graph_mb: float | None
    peak_mb: float

    @property
    def compared_mb(self) -> float:
        """What ratios are made of: `graph_mb`, or `peak_mb` in inference."""
        return self.peak_mb if self.graph_mb is None else self.graph_mb


class Rate(NamedTuple):
    """How fast the multiply-adds of a backbone's convolutions are computed.

    Attributes:
        gmacs: Multiply-adds of a pass or step in 1e9, with those of the backward pass, without recomputed ones.
        gflops: Floating-point operations per second in 1e9, two for a multiply-add.
        share: `gflops` as a fraction of the machine's peak in the dtype that the form computes in.
    """

    gmacs: float
    gflops: float
    share: float


class Ratios(NamedTuple):
    """A contender compared with another one of the same case.

    Attributes:
        against: The other contender.
        faster: How many times faster than the other one: the median of the ratios of each round.
        memory: `MemoryUse.compared_mb` divided by that of the other one.
    """

    against: str
    faster: float
    memory: float


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One contender in one case.

    Attributes:
        case: Task and size.
        contender: NETWORK:FORM.
        timing: Its time; None if memory ran out, like the next two.
        memory: Its memory.
        ratios: Its ratios to another contender.
        rate: Its rate; None where multiply-adds are not counted.
    """

    case: Case
    contender: str
    timing: Timing | None = None
    memory: MemoryUse | None = None
    ratios: Ratios | None = None
    rate: Rate | None = None

    def record(self) -> dict[str, object]:
        """Every figure, unrounded, by name; None for what was not measured."""
        record = {**asdict(self.case), 'contender': self.contender}
        for kind, part in (
            (Timing, self.timing),
            (MemoryUse, self.memory),
            (Rate, self.rate),
            (Ratios, self.ratios),
        ):
            record |= dict.fromkeys(kind._fields) if part is None else part._asdict()
        return record | {'ms': self.timing and self.timing.ms._asdict()}
