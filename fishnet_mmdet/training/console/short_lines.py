"""From MMEngine's line of an iteration to a short one."""

import re
from typing import NamedTuple

from fishnet_mmdet.training.console.fields import GAP, Field, duration, fit, pace

WIDTH = 120
HEAD = re.compile(r'(?:Epoch|Iter)\((\w+)\)\s*(?:\[\s*(\d+)\])?\[\s*(\d+)/(\d+)\]\s*(.*)', re.DOTALL)
PAIR = re.compile(r'(\S+): ((?:\d+ days?, )?\S+)')
SLOW_LOADING = 0.2
"""Share of an iteration above which the time that the loader takes is shown."""


class Iteration(NamedTuple):
    """What MMEngine's line of an iteration says.

    Attributes:
        split: 'train', 'val' or 'test'.
        epoch: Number of the epoch, from 1; None where iterations are counted.
        done: Iterations of the epoch, or of all if `epoch` is None.
        count: How many there are.
        values: Everything else, by its name in the line.
    """

    split: str
    epoch: int | None
    done: int
    count: int
    values: dict[str, str]


def parse(line: str) -> Iteration | None:
    """Reads MMEngine's line of an iteration; None for any other line."""
    if not (match := HEAD.fullmatch(line.strip())):
        return None
    split, epoch, done, count, rest = match.groups()
    return Iteration(split, int(epoch) if epoch else None, int(done), int(count), dict(PAIR.findall(rest)))


def short_line(it: Iteration, clock: str, epochs: int | None = None, width: int = WIDTH) -> str:
    """Returns the line that is shown: what matters first, single losses as far as there is room.

    Args:
        it: The iteration.
        clock: Time of day.
        epochs: Number of epochs in all, if it is known.
        width: Characters of the line at most.
    """
    of_all = f'/{epochs}' if epochs else ''
    place = f'{it.done:>{len(str(it.count))}}/{it.count}'
    if it.split != 'train':
        place = f'{"validation" if it.split == "val" else it.split} {place}'
    elif it.epoch is None:
        place = f'iteration {place}'
    head = [Field(clock), Field(f'epoch {it.epoch}{of_all}' if it.split == 'train' and it.epoch else ''), Field(place)]
    return GAP.join(fit([*head, *_losses(it.values), *_rates(it.values), *_times(it.values)], width))


def _losses(values: dict[str, str]) -> list[Field]:
    names = [name for name in values if 'loss' in name and name != 'loss']
    parts = [Field(f'{name.replace("loss_", "")} {_digits(values[name])}', 3) for name in names]
    return [Field(f'loss {_digits(values["loss"])}' if 'loss' in values else ''), *parts]


def _rates(values: dict[str, str]) -> list[Field]:
    norm, rate, memory = values.get('grad_norm'), values.get('lr'), values.get('memory')
    return [
        Field(f'grad {_digits(norm)}' if norm else '', 5),
        Field(f'lr {float(rate):.2g}' if rate else '', 2),
        Field(f'{int(memory) / 1024:.1f} GiB' if memory else '', 4),
    ]


def _times(values: dict[str, str]) -> list[Field]:
    time, loading, left = (values.get(name) for name in ('time', 'data_time', 'eta'))
    is_slow = time and loading and float(loading) > SLOW_LOADING * float(time)
    return [
        Field(pace(float(time)) if time else '', 1),
        Field(f'loader {pace(float(loading)).split("/")[0]}' if is_slow else '', 3),
        Field(f'{duration(_seconds(left))} left' if left else '', 1),
    ]


def _digits(value: str) -> str:
    return f'{float(value):.3g}'


def _seconds(text: str) -> float:
    """Seconds of the time that MMEngine writes, such as '1 day, 2:03:04'."""
    days, _, clock = text.rpartition(', ')
    hours, minutes, seconds = (float(part) for part in clock.split(':'))
    return ((int(days.split()[0]) * 24 if days else 0) + hours) * 3600 + minutes * 60 + seconds
