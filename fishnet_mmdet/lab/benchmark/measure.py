"""Measures contenders: time in turns, bytes at the allocator, multiply-adds on the built network."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from fishnet_mmdet.lab.benchmark.contenders import Contender, baseline, build
from fishnet_mmdet.lab.benchmark.measurement import Case, Measurement, MemoryUse, Rate, Ratios, Timing
from fishnet_mmdet.lab.benchmark.memory import memory_of
from fishnet_mmdet.lab.benchmark.networks import gmacs
from fishnet_mmdet.lab.benchmark.peaks import Peak, check_device, highest
from fishnet_mmdet.lab.benchmark.tasks import TASKS, BenchmarkError, Task
from fishnet_mmdet.lab.benchmark.timing import Budget, Spread, quartiles, speed_ratio, take_turns, warm_up

Name = TypeVar('Name')
OnProgress = Callable[[str, float], None]
"""Called with what is being done and the completed fraction, 0 to 1."""


def ignore_progress(what: str, done: float) -> None:
    """An `OnProgress` that shows nothing."""


class Step(Protocol):
    """Work that can be measured: a pass or step of one network on one batch.

    Attributes:
        network: The network, whose gradients may be dropped between calls.
    """

    network: nn.Module

    def __call__(self) -> object:
        """Does all of the work."""

    def forward(self) -> object:
        """Does the forward pass only, and returns what it computed."""

    def graph(self) -> object:
        """Does the forward pass only, and returns what the backward pass starts from."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkPlan:
    """What to measure.

    Attributes:
        contenders: The contenders.
        tasks: Names of `TASKS`.
        sides: Sides of the square images, multiples of 32 (pytorchcv's FishNet requires it); empty for each task's own.
        batches: Batch sizes; empty for each task's own.
        device: 'cpu' or 'cuda'.
        budget: How long to time.

    Raises:
        BenchmarkError: A value that cannot be measured.
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
                raise BenchmarkError(f'--tasks {task}: must be one of {", ".join(TASKS)}')
            if not self.able(task):
                raise BenchmarkError(
                    f'--tasks {task}: none of the contenders has a form for it; add one that has, such as fishnet150'
                )
        for side in self.sides:
            if side < 32 or side % 32:
                raise BenchmarkError(f'--sizes {side}: must be a multiple of 32')
        for batch in self.batches:
            if batch < 1:
                raise BenchmarkError(f'--batches {batch}: must be at least 1')
        if not self.budget.seconds >= 0:
            raise BenchmarkError(f'--seconds {self.budget.seconds:g}: must be at least 0')
        if self.budget.rounds < 1:
            raise BenchmarkError(f'--rounds {self.budget.rounds}: must be at least 1')

    def able(self, task: str) -> list[Contender]:
        """The contenders whose form can do a task."""
        return [contender for contender in self.contenders if task in contender.made.tasks]

    def points(self, task: Task) -> list[tuple[int, int]]:
        """Batch and side of each case: all sides at the first batch size, then all batch sizes at the first side."""
        sides, batches = self.sides or (task.side,), self.batches or (task.batch,)
        return list(dict.fromkeys([*((batches[0], s) for s in sides), *((b, sides[0]) for b in batches)]))


class BackboneStep:
    """A forward pass of a backbone, or in training a forward and a backward pass with gradients drawn once.

    Args:
        network: The backbone.
        task: The task.
        image: The batch, (N, 3, H, W).
    """

    def __init__(self, network: nn.Module, task: Task, image: Tensor) -> None:
        self.network, self.task, self.image = network, task, image
        self.gradients: list[Tensor] = []

    def forward(self) -> tuple[Tensor, ...]:
        """Computes the levels, with a graph in training."""
        with torch.set_grad_enabled(self.task.training):
            return self.network(self.image)

    def graph(self) -> list[object]:
        """Computes the levels and keeps only what the backward pass starts from.

        Gradient edges, because a `grad_fn` written in Python does not keep its graph alive.
        """
        return [get_gradient_edge(level) for level in self.forward()]

    def __call__(self) -> None:
        """Does the pass or step; gradients of weights of the previous call are dropped first."""
        self.network.zero_grad(set_to_none=True)
        levels = self.forward()
        if self.task.training:
            if not self.gradients:
                self.gradients = [torch.randn_like(level) / level.numel() for level in levels]
            torch.autograd.backward(levels, self.gradients)


def measure(
    plan: BenchmarkPlan, peaks: list[Peak], on_progress: OnProgress = ignore_progress
) -> Iterator[list[Measurement]]:
    """Measures everything of a plan.

    Args:
        plan: What to measure.
        peaks: Peaks of the machine, from `measure_peaks`.
        on_progress: Called before each part of the work.

    Yields:
        The measurements of one case (task, batch, side), one for each contender that can do the task.
    """
    for name in plan.tasks:
        task = TASKS[name]
        networks: dict[Contender, nn.Module] = {}
        torch.compiler.reset()  # graphs of the previous task's networks count towards torch's limit
        able = plan.able(name)
        for i, contender in enumerate(able):
            on_progress(f'{task.title}: building {contender}', i / len(able))
            networks[contender] = build(contender, task, plan.device)
        for point in plan.points(task):
            yield _measure_case(networks, task, point, plan, peaks, on_progress)


def _measure_case(
    networks: Mapping[Contender, nn.Module],
    task: Task,
    point: tuple[int, int],
    plan: BenchmarkPlan,
    peaks: list[Peak],
    on_progress: OnProgress,
) -> list[Measurement]:
    batch, side = point
    torch.manual_seed(0)
    image = torch.randn(batch, 3, side, side, device=plan.device)
    steps = {contender: BackboneStep(network, task, image) for contender, network in networks.items()}
    case = Case(task=task.title, batch=batch, height=side, width=side)
    rows = measure_in_turns(
        steps, case, plan.budget, plan.device, on_progress, baseline=baseline, training=task.training
    )
    counted = {str(c): task.passes * batch * gmacs(c.network, side) for c in networks}
    reachable = {str(c): highest(peaks, c.made.dtype).gflops for c in networks}
    return [_with_rate(row, counted[row.contender], reachable[row.contender]) for row in rows]


def _with_rate(row: Measurement, counted: float, reachable: float) -> Measurement:
    if row.timing is None:
        return row
    gflops = 2e3 * counted / row.timing.ms.median
    return replace(row, rate=Rate(counted, gflops, gflops / reachable))


def measure_in_turns(
    steps: Mapping[Name, Step],
    case: Case,
    budget: Budget,
    device: str,
    on_progress: OnProgress,
    *,
    baseline: Callable[[Name, list[Name]], Name],
    training: bool,
) -> list[Measurement]:
    """Warms up, counts bytes, then times in turns.

    Args:
        steps: What to compare.
        case: Task and size, the same for all.
        budget: How long to time.
        device: 'cpu' or 'cuda'.
        on_progress: Called before each part of the work.
        baseline: Takes a name and the names that were timed; returns the one that its ratios are against.
        training: Whether the forward pass keeps bytes for a backward pass.

    Returns:
        One measurement for each step; one without figures where memory ran out.
    """
    calls: dict[Name, int] = {}
    used: dict[Name, MemoryUse] = {}
    for i, (name, step) in enumerate(steps.items()):
        on_progress(f'{case}: warming up {name}', i / len(steps))
        try:
            calls[name] = warm_up(step, device)
            used[name] = _memory_use(step, device, training)
        except RuntimeError as error:
            pass_over_if_out_of_memory(error)
        # Otherwise the gradients of all networks would be in memory at once.
        step.network.zero_grad(set_to_none=True)
    works = {name: steps[name] for name in used}
    seconds = take_turns(works, calls, budget, device, partial(on_progress, f'{case}: timing in turns'))
    against = {name: baseline(name, list(seconds)) for name in seconds}
    return [
        Measurement(
            case=case,
            contender=str(name),
            timing=_timing(seconds[name], case.batch),
            memory=used[name],
            ratios=Ratios(
                str(against[name]),
                speed_ratio(seconds[name], seconds[against[name]]),
                used[name].compared_mb / used[against[name]].compared_mb,
            ),
        )
        if name in seconds
        else Measurement(case=case, contender=str(name))
        for name in steps
    ]


def pass_over_if_out_of_memory(error: RuntimeError) -> None:
    """Raises an error, unless memory ran out; on a CPU torch raises a plain RuntimeError then."""
    if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
        raise error
    torch.cuda.empty_cache()


def _memory_use(step: Step, device: str, training: bool) -> MemoryUse:
    kept = graph = None
    if training:
        kept = memory_of(step.forward, device).kept / 1e6
        graph = memory_of(step.graph, device).kept / 1e6
    step.network.zero_grad(set_to_none=True)
    return MemoryUse(kept, graph, memory_of(step, device).peak / 1e6)


def _timing(seconds: list[float], batch: int) -> Timing:
    spread = quartiles(seconds)
    return Timing(Spread(*(1e3 * value for value in spread)), len(seconds), batch / spread.median)
