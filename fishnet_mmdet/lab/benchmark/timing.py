"""Timings taken in turns: each round times every contender once, so that drifts of the machine affect all equally."""

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median, quantiles
from typing import NamedTuple, TypeVar

import torch

Name = TypeVar('Name', bound=Hashable)
Work = Callable[[], object]

MIN_SECONDS = 0.02
"""Duration of one timing; shorter work is repeated within it."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long to time.

    Attributes:
        seconds: Seconds for each contender. Rounds are started until the sum for all contenders is spent.
        rounds: Minimum number of rounds, however long they take.
    """

    seconds: float = 3.0
    rounds: int = 5


class Spread(NamedTuple):
    """Median and quartiles of several timings.

    Attributes:
        median: The median.
        lower: The first quartile.
        upper: The third quartile.
    """

    median: float
    lower: float
    upper: float


def quartiles(values: list[float]) -> Spread:
    """Median and quartiles of values; a single value is all three."""
    if len(values) == 1:
        return Spread(*values * 3)
    lower, _, upper = quantiles(values, n=4, method='inclusive')
    return Spread(median(values), lower, upper)


def speed_ratio(ours: list[float], theirs: list[float]) -> float:
    """How many times faster: the median of the ratios of each round, in which drifts of the machine cancel.

    Args:
        ours: Seconds of each round.
        theirs: Seconds of the other contender in the same rounds.
    """
    return median(b / a for a, b in zip(ours, theirs, strict=True))


def synchronize(device: str) -> None:
    """Waits until the device has finished its work."""
    if device.startswith('cuda'):
        torch.cuda.synchronize()


def time_once(work: Work, calls: int, device: str) -> float:
    """Seconds of one call, measured over several calls in a row.

    Args:
        work: What to call.
        calls: Number of calls.
        device: Device of the work.
    """
    synchronize(device)
    start = time.perf_counter()
    for _ in range(calls):
        work()
    synchronize(device)
    return (time.perf_counter() - start) / calls


def warm_up(work: Work, device: str) -> int:
    """Runs work once so that its caches are filled.

    Returns:
        The number of calls that make up one timing.
    """
    work()
    return calls_for(time_once(work, 1, device))


def calls_for(seconds: float) -> int:
    """The number of calls that make up one timing, of work that takes so many seconds."""
    return max(1, round(MIN_SECONDS / seconds))


def take_turns(
    works: Mapping[Name, Work],
    calls: Mapping[Name, int],
    budget: Budget,
    device: str,
    on_round: Callable[[float], None] = lambda done: None,
) -> dict[Name, list[float]]:
    """Times each work once per round, in the given order, until the budget is spent.

    Args:
        works: What to time, already warmed up.
        calls: Number of calls in one timing of each work.
        budget: When to stop.
        device: Device of the work.
        on_round: Called after each round with the spent fraction of the budget, 0 to 1.

    Returns:
        For each work, seconds of one call in every round.
    """
    return go_round(
        {name: partial(time_once, work, calls[name], device) for name, work in works.items()}, budget, on_round
    )


def go_round(
    timers: Mapping[Name, Callable[[], float]], budget: Budget, on_round: Callable[[float], None] = lambda done: None
) -> dict[Name, list[float]]:
    """Asks each timer once per round, in the given order, until the budget is spent.

    Args:
        timers: Each times one call and returns its seconds.
        budget: When to stop.
        on_round: Called after each round with the spent fraction of the budget, 0 to 1.

    Returns:
        For each timer, its seconds in every round.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in timers}
    start, done, rounds = time.perf_counter(), 0.0, 0
    while done < 1:
        for name, timer in timers.items():
            seconds[name].append(timer())
        rounds += 1
        spent = (time.perf_counter() - start) / max(budget.seconds * len(timers), 1e-9)
        done = min(1, spent, rounds / budget.rounds)
        on_round(done)
    return seconds
