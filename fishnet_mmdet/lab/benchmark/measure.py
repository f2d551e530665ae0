"""Measures contenders at their tasks: time in turns, bytes at the allocator, multiply-adds on the built network."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from fishnet_mmdet.lab.benchmark.contenders import TASKS, BenchmarkError, Contender, Task, build, gmacs
from fishnet_mmdet.lab.benchmark.machine import Peak, best, check_device
from fishnet_mmdet.lab.benchmark.memory import memory_of
from fishnet_mmdet.lab.benchmark.timing import Budget, Spread, Work, ratio, spread, take_turns, warm_up

Name = TypeVar('Name')
Said = Callable[[str, float], None]


def _unheard(what: str, done: float) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure.

    Attributes:
        contenders: Who.
        tasks: Names of `TASKS`.
        sides: Of the square images, multiples of 32 (pytorchcv's FishNet takes no others); empty for each task's own.
        batches: Images at once; empty for each task's own.
        device: 'cpu' or 'cuda'.
        budget: How long.

    Raises:
        BenchmarkError: Something that cannot be measured.
    """

    contenders: tuple[Contender, ...]
    tasks: tuple[str, ...] = tuple(TASKS)
    sides: tuple[int, ...] = ()
    batches: tuple[int, ...] = ()
    device: str = 'cpu'
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        check_device(self.device)
        for task in self.tasks:
            if task not in TASKS:
                raise BenchmarkError(f'--tasks {task}: must be of {", ".join(TASKS)}')
            if not self.able(task):
                raise BenchmarkError(f'--tasks {task}: none of the contenders is made for it; give fishnet150, say')
        for side in self.sides:
            if side < 32 or side % 32:
                raise BenchmarkError(f'--sizes {side}: must be a multiple of 32')
        for batch in self.batches:
            if batch < 1:
                raise BenchmarkError(f'--batches {batch}: must be at least 1')
        if self.budget.seconds < 0 or self.budget.rounds < 1:
            raise BenchmarkError(
                f'--seconds {self.budget.seconds:g} --rounds {self.budget.rounds}: must be at least 0 and 1'
            )

    def able(self, task: str) -> list[Contender]:
        """The contenders whose form is made for a task."""
        return [contender for contender in self.contenders if task in contender.made.tasks]

    def points(self, task: Task) -> list[tuple[int, int]]:
        """Batch and side of each measurement: all sides at the first batch, then all batches at the first side."""
        sides, batches = self.sides or (task.side,), self.batches or (task.batch,)
        return list(dict.fromkeys([*((batches[0], s) for s in sides), *((b, sides[0]) for b in batches)]))


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One contender at one task and size.

    Attributes:
        task: Title of the task.
        contender: NETWORK:FORM.
        batch: Images at once.
        height: Of the images.
        width: Of the images.
        ms: Time of a pass or step in milliseconds, median and quartiles over the rounds; None where memory ran out.
        rounds: Number of timings.
        images_per_s: Throughput.
        kept_mb: Bytes kept after forward, for backward and as returned features, in 1e6; None in inference.
        graph_mb: Those of them that backward needs, were the features dropped; None in inference.
        peak_mb: The most of the pass or step at once above what stood before (weights, image), in 1e6.
        gmacs: Multiply-adds of the backbone's convolutions for a pass or step, those in backward included and those that
            recomputation repeats not; None where they were not counted.
        gflops: Reached, two operations a multiply-add.
        share: Of the machine's peak in the dtype that the form computes in.
        against: The contender that the ratios are against.
        faster: How many times faster than that one: the median of the rounds' own ratios.
        memory: Bytes that backward needs against that one's; in inference peak bytes.
    """

    task: str
    contender: str
    batch: int
    height: int
    width: int
    ms: Spread | None
    rounds: int = 0
    images_per_s: float | None = None
    kept_mb: float | None = None
    graph_mb: float | None = None
    peak_mb: float | None = None
    gmacs: float | None = None
    gflops: float | None = None
    share: float | None = None
    against: str | None = None
    faster: float | None = None
    memory: float | None = None

    @property
    def size(self) -> str:
        """Batch and image in words."""
        return f'{self.batch} x {self.height} x {self.width}'


class Step:
    """A forward pass, or a forward and a backward pass with gradients drawn once, of one network and image."""

    def __init__(self, network: nn.Module, task: Task, image: Tensor) -> None:
        self.network, self.task, self.image = network, task, image
        self.gradients: list[Tensor] = []

    def forward(self) -> tuple[Tensor, ...]:
        """The levels, with a graph in training."""
        with torch.set_grad_enabled(self.task.training):
            return self.network(self.image)

    def graph(self) -> list[object]:
        """What backward starts from, without the levels themselves; a `grad_fn` in Python would not hold its graph."""
        return [get_gradient_edge(level) for level in self.forward()]

    def __call__(self) -> None:
        """All of it; weights keep no gradient of the call before."""
        self.network.zero_grad(set_to_none=True)
        levels = self.forward()
        if self.task.training:
            if not self.gradients:
                self.gradients = [torch.randn_like(level) / level.numel() for level in levels]
            torch.autograd.backward(levels, self.gradients)


def measure(plan: Plan, peaks: list[Peak], say: Said = _unheard) -> Iterator[list[Measurement]]:
    """Measures everything of a plan.

    Args:
        plan: What.
        peaks: Of the machine.
        say: Told what is being done, and which part of it is done.

    Yields:
        The measurements of each point (task, batch, side) when they are there.
    """
    for name in plan.tasks:
        task = TASKS[name]
        networks: dict[Contender, nn.Module] = {}
        torch.compiler.reset()  # what it compiled of the last task's networks counts towards its limit
        able = plan.able(name)
        for i, contender in enumerate(able):
            say(f'{task.title}: building {contender}', i / len(able))
            networks[contender] = build(contender, task, plan.device)
        for batch, side in plan.points(task):
            yield _measure_point(networks, task, (batch, side), plan, peaks, say)


def _measure_point(
    networks: Mapping[Contender, nn.Module],
    task: Task,
    point: tuple[int, int],
    plan: Plan,
    peaks: list[Peak],
    say: Said,
) -> list[Measurement]:
    batch, side = point
    torch.manual_seed(0)
    image = torch.randn(batch, 3, side, side, device=plan.device)
    steps = {contender: Step(network, task, image) for contender, network in networks.items()}
    facts = dict(task=task.title, batch=batch, height=side, width=side)
    rows = compare(steps, facts, plan.budget, plan.device, say, baseline=baseline, training=task.training)
    counted = {str(c): task.passes * batch * gmacs(c.network, side) for c in networks}
    reachable = {str(c): best(peaks, c.made.dtype).gflops for c in networks}
    return [_with_work(row, counted[row.contender], reachable[row.contender]) for row in rows]


def _with_work(row: Measurement, counted: float, reachable: float) -> Measurement:
    if row.ms is None:
        return row
    gflops = 2e3 * counted / row.ms.median
    return replace(row, gmacs=counted, gflops=gflops, share=gflops / reachable)


def compare(
    steps: Mapping[Name, Work],
    facts: Mapping[str, object],
    budget: Budget,
    device: str,
    say: Said,
    *,
    baseline: Callable[[Name, list[Name]], Name],
    training: bool,
) -> list[Measurement]:
    """Warms up, counts bytes, then times in turns.

    Args:
        steps: What to compare: each a `Step`, or has its `forward`, its `graph`, and its `network`, whose gradients may be
            dropped.
        facts: Task, batch and size, the same for all.
        budget: How long.
        device: 'cpu' or 'cuda'.
        say: Told what is being done, and which part of it is done.
        baseline: Of one of the names and those that were timed, which the ratios are against.
        training: Whether forward keeps bytes for backward.

    Returns:
        A row each; one without figures where memory ran out.
    """
    title = '{task}, {batch} x {height} x {width}'.format_map(facts)
    calls, kept, graph, peak = {}, {}, {}, {}
    for i, (name, step) in enumerate(steps.items()):
        say(f'{title}: warming up {name}', i / len(steps))
        try:
            calls[name] = warm_up(step, device)
            kept[name] = memory_of(step.forward, device).kept
            graph[name] = memory_of(step.graph, device).kept if training else 0
            step.network.zero_grad(set_to_none=True)
            peak[name] = memory_of(step, device).peak
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
        step.network.zero_grad(set_to_none=True)  # or the gradients of all would stand beside each other
    works = {name: steps[name] for name in peak}
    seconds = take_turns(works, calls, budget, device, partial(say, f'{title}: timing in turns'))

    rows = []
    for name in steps:
        if name not in seconds:
            rows.append(Measurement(**facts, contender=str(name), ms=None))
            continue
        time = spread(seconds[name])
        against = baseline(name, list(seconds))
        held = graph if training else peak
        rows.append(
            Measurement(
                **facts,
                contender=str(name),
                ms=Spread(*(1e3 * value for value in time)),
                rounds=len(seconds[name]),
                images_per_s=facts['batch'] / time.median,
                kept_mb=kept[name] / 1e6 if training else None,
                graph_mb=graph[name] / 1e6 if training else None,
                peak_mb=peak[name] / 1e6,
                against=str(against),
                faster=ratio(seconds[name], seconds[against]),
                memory=held[name] / held[against],
            )
        )
    return rows


def baseline(contender: Contender, timed: list[Contender]) -> Contender:
    """Whom a contender is held against: its peer, else our eager form of that peer, else the first one timed."""
    own = Contender(contender.peer.network.removeprefix('pytorchcv-'), 'eager')
    return next(c for c in (contender.peer, own, timed[0]) if c in timed)
