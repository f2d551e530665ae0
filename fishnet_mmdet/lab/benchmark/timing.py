"""Timings taken in turns: each round times every contender once, so that a machine's drifts hit all alike."""

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from typing import NamedTuple, TypeVar

import torch

Name = TypeVar('Name', bound=Hashable)
Work = Callable[[], object]

LEAST = 0.02
"""Seconds of one timing: shorter work is repeated within it."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long to time.

    Attributes:
        seconds: For each contender; rounds are begun until all together have had theirs.
        rounds: At least so many, whatever they take.
    """

    seconds: float = 3.0
    rounds: int = 5


class Spread(NamedTuple):
    """The middle of many timings and where half of them lie."""

    median: float
    lower: float
    upper: float


def spread(values: list[float]) -> Spread:
    """Median and quartiles; of a single value, that value."""
    if len(values) == 1:
        return Spread(*values * 3)
    lower, _, upper = quantiles(values, n=4, method='inclusive')
    return Spread(median(values), lower, upper)


def ratio(ours: list[float], theirs: list[float]) -> float:
    """How many times faster: the median of each round's own ratio, in which its drift cancels."""
    return median(b / a for a, b in zip(ours, theirs, strict=True))


def synchronize(device: str) -> None:
    """Waits until the device has done what it was given."""
    if device.startswith('cuda'):
        torch.cuda.synchronize()


def time_once(work: Work, calls: int, device: str) -> float:
    """Seconds of a call, from `calls` of them back to back."""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(calls):
        work()
    synchronize(device)
    return (time.perf_counter() - start) / calls


def warm_up(work: Work, device: str) -> int:
    """Runs work until its caches are filled; returns how many calls make up one timing."""
    work()
    return max(1, round(LEAST / time_once(work, 1, device)))


def take_turns(
    works: Mapping[Name, Work],
    calls: Mapping[Name, int],
    budget: Budget,
    device: str,
    on_round: Callable[[float], None] = lambda done: None,
) -> dict[Name, list[float]]:
    """Times each work once a round, in the order given, until the budget is spent.

    Args:
        works: What to time; warmed up.
        calls: Of each, in one timing.
        budget: When to stop.
        device: Where the work is done.
        on_round: Told after each round which part of the budget is spent, 0 to 1.

    Returns:
        Of each, seconds of a call in every round.
    """
    seconds: dict[Name, list[float]] = {name: [] for name in works}
    start, done, rounds = time.perf_counter(), 0.0, 0
    while done < 1:
        for name, work in works.items():
            seconds[name].append(time_once(work, calls[name], device))
        rounds += 1
        spent = (time.perf_counter() - start) / max(budget.seconds * len(works), 1e-9)
        done = min(1, spent, rounds / budget.rounds)
        on_round(done)
    return seconds
