"""Which run is better and by how much, in words: the first lines of the page."""

from collections.abc import Sequence
from dataclasses import dataclass

from fishnet_mmdet.runs.comparison import Comparison, Group
from fishnet_mmdet.runs.differing import differing
from fishnet_mmdet.runs.run import Best, Run
from fishnet_mmdet.runs.settings import differences


@dataclass(frozen=True)
class Standing:
    """The best figure of a group of runs.

    Attributes:
        group: The group.
        value: The figure as text; '-' if there is none.
        where: When it was reached.
    """

    group: Group
    value: str
    where: str


@dataclass(frozen=True)
class Verdict:
    """The answer.

    Attributes:
        answer: One sentence.
        standings: What it rests on, the best group first.
        details: What limits it, and further figures.
    """

    answer: str
    standings: tuple[Standing, ...]
    details: tuple[str, ...]

    def text(self) -> str:
        """The answer for a terminal."""
        lines = [f'{s.group.name}: {s.value}, {s.where}' for s in self.standings]
        return '\n'.join([self.answer, *(f'  {line}' for line in (*lines, *self.details))])


def judge(c: Comparison) -> Verdict:
    """Says which group of runs is better, by how much, and how sure that is."""
    ranked = c.ranked()
    standings = tuple(_standing(group, c) for group in [*ranked, *(g for g in c.groups if g not in ranked)])
    if not ranked:
        who = 'No run has' if len(c.runs) > 1 else f'{c.runs[0].name} has not'
        return Verdict(f'{who} validated yet.', standings, ())
    details = _others(c, ranked)
    if len(ranked) > 1:
        details = [
            _certainty(c, *ranked[:2]),
            *_same_time(c, ranked),
            *_same_length(c, ranked),
            *_why(c, ranked),
            *details,
        ]
        if c.validation_data:
            details.insert(0, _data(c))
    details.append('Each figure is the best of all validations of a run, chosen on the same data: a little too good.')
    return Verdict(_answer(c, ranked), standings, tuple(details))


def duration(seconds: float) -> str:
    """A time span, such as '1 h 20 min'."""
    if seconds < 90:
        return f'{seconds:.0f} s'
    minutes = round(seconds / 60)
    return f'{minutes} min' if minutes < 60 else f'{minutes // 60} h {minutes % 60:02d} min'


def _answer(c: Comparison, ranked: Sequence[Group]) -> str:
    if len(ranked) == 1:
        return _only(c, ranked[0])
    first, second = ranked[:2]
    means = [group.mean(c.metric, epoch=c.limit) for group in (first, second)]
    values = [c.metric.text(value) for value in means]
    against = f'{values[0]} against {values[1]}'
    gap = f'{c.metric.text(abs(means[0] - means[1]))} {c.metric.title}'
    begin = _begin(c, ranked)
    if c.other_data:
        return f'Not comparable: {first.name} and {second.name} were validated on different data ({against}).'
    if values[0] == values[1]:
        return f'{begin}{first.name} and {second.name} are equal: {values[0]} {c.metric.title}, {_seeds(ranked)}.'
    if overlap(c, first, second):
        return (
            f'Not decided: {begin[:1].lower()}{begin[1:]}{first.name} is ahead of {second.name} by {gap} on average '
            f'({against}), but their seeds overlap.'
        )
    which = f'the best, {second.name} second' if len(ranked) > 2 else f'better than {second.name}'
    return f'{begin}{first.name} is {which}: by {gap} ({against}), {_seeds(ranked)}.{_but_slower(c, ranked)}'


def _begin(c: Comparison, ranked: Sequence[Group]) -> str:
    if c.limit is not None:
        return f'So far, up to {_unit(c)} {c.limit} that all have reached, '
    return 'So far, ' if any(run.unfinished for group in ranked[:2] for run in group.runs) else ''


def overlap(c: Comparison, first: Group, second: Group) -> bool:
    """Whether there are several seeds, and some run of the worse group is as good as some run of the better one."""
    better, worse = ([best.value for best in group.bests(c.metric, epoch=c.limit)] for group in (first, second))
    if len(better) == len(worse) == 1:
        return False
    return min(better) <= max(worse) if c.metric.rises else max(better) >= min(worse)


def _seeds(ranked: Sequence[Group]) -> str:
    counts = [len(group.runs) for group in ranked[:2]]
    if counts == [1, 1]:
        return 'with one seed each'
    unit = 'runs' if any(group.repeated_seed is not None for group in ranked[:2]) else 'seeds'
    return f'with {counts[0]} {unit} each' if counts[0] == counts[1] else f'with {counts[0]} and {counts[1]} {unit}'


def _only(c: Comparison, group: Group) -> str:
    metric, bests = c.metric, group.bests(c.metric, epoch=c.limit)
    missing = [other.name for other in c.groups if other != group]
    end = f'; {", ".join(missing)}: no {metric.title} yet.' if missing else '.'
    if len(bests) > 1:
        spread = ' to '.join(metric.text(pick(best.value for best in bests)) for pick in (min, max))
        mean = metric.text(group.mean(metric, epoch=c.limit))
        runs = f'{len(bests)} runs of {group.name}'
        return f'{_begin(c, [group])}{runs} reach {spread} {metric.title}, {mean} on average{end}'
    run = next(run for run in group.runs if run.best(metric))
    where = run.where(run.best(metric).validation)
    return f'{_begin(c, [group])}{group.name} reaches {metric.text(bests[0].value)} {metric.title} at {where}{end}'


def _standing(group: Group, c: Comparison) -> Standing:
    metric = c.metric
    if len(group.runs) > 1 and metric and (bests := group.bests(metric, epoch=c.limit)):
        values = sorted(best.value for best in bests)
        up_to = f' up to {_unit(c)} {c.limit}' if c.limit is not None else ''
        seconds = sum(best.seconds for best in bests) / len(bests)
        return Standing(
            group,
            metric.text(group.mean(metric, epoch=c.limit)),
            f'mean of {len(bests)} runs{up_to}, {metric.text(values[0])} to {metric.text(values[-1])}, '
            f'at {_places(bests)}{f"; after {duration(seconds)} of training each" if seconds else ""}{_gain(c, group)}',
        )
    run, best = next(((run, best) for run in group.runs if metric and (best := run.best(metric))), (None, None))
    if run is None:
        return Standing(group, '-', '; '.join(f'{run.progress}{_loss(run)}' for run in group.runs))
    of = f' of {run.planned}' if run.planned else ''
    after = f', after {duration(best.seconds)} of training' if best.seconds else ''
    stands = f'; the run is at {run.progress}' if run.unfinished else ''
    last, value = run.points(metric)[-1]
    later = '' if last == best.validation else f'; {metric.text(value)} at {run.where(last)}, the last'
    where = f'{run.where(best.validation)}{of}{after}{later}{stands}{_gain(c, group)}'
    return Standing(group, metric.text(best.value), where)


def _gain(c: Comparison, group: Group) -> str:
    """That runs were best at the end, and so might get better yet."""
    gains = [gain for run in group.runs if (gain := run.gain(c.metric)) is not None]
    if not gains:
        return ''
    by = c.metric.text(max(gains))
    if len(group.runs) == 1:
        return f'; best at the last {_unit(c)}, still improving (by {by}): a longer run may gain'
    count = 'all' if len(gains) == len(group.runs) else f'{len(gains)} of {len(group.runs)}'
    return f'; {count} were best at the last {_unit(c)}, still improving (by up to {by}): longer runs may gain'


def _places(bests: Sequence[Best]) -> str:
    """The epochs or iterations of several validations."""
    unit = 'iteration' if bests[0].validation.epoch is None else 'epoch'
    places = [v.iteration if v.epoch is None else v.epoch for v in (best.validation for best in bests)]
    return f'{unit} {places[0]}' if min(places) == max(places) else f'{unit}s {min(places)} to {max(places)}'


def _unit(c: Comparison) -> str:
    return 'epoch' if c.runs[0].by_epoch else 'iteration'


def _others(c: Comparison, ranked: Sequence[Group]) -> list[str]:
    """The other figures, best of each."""
    lines = []
    for metric in c.metrics[1:4]:
        values = [(group.name, group.mean(metric, epoch=c.limit)) for group in ranked]
        if shown := [f'{name} {metric.text(value)}' for name, value in values if value is not None]:
            lines.append(f'By {metric.title}: {", ".join(shown)}.')
    return lines


def _why(c: Comparison, ranked: Sequence[Group]) -> list[str]:
    """The settings in which the first two groups differ."""
    pair = [group.settings for group in ranked[:2]]
    found = differences(pair) if all(pair) else []
    return [f'{ranked[0].name} and {ranked[1].name} differ in {differing(found)}.'] if found else []


def _same_length(c: Comparison, ranked: Sequence[Group]) -> list[str]:
    """The figures at the last epoch that all have reached, if some went on."""
    if c.common is None or c.limit is not None:
        return []
    shown = _values(c, ranked, epoch=c.common)
    return [f'Up to {_unit(c)} {c.common}, which all have reached: {shown}.']


def _same_time(c: Comparison, ranked: Sequence[Group]) -> list[str]:
    """The figures after the training time of the fastest."""
    if not (shortest := _shortest(ranked)):
        return []
    shown = _values(c, ranked, seconds=shortest)
    return [f'After the same training time, {duration(shortest)} on the machines as they were: {shown}.']


def _shortest(ranked: Sequence[Group]) -> float | None:
    """Seconds of training of the fastest run; None if all took about as long."""
    times = [run.seconds for group in ranked for run in group.runs]
    return min(times) if min(times) and max(times) >= 1.1 * min(times) else None


def _but_slower(c: Comparison, ranked: Sequence[Group]) -> str:
    """That the second group is ahead after the same training time."""
    shortest = _shortest(ranked)
    first, second = (group.mean(c.metric, seconds=shortest) if shortest else None for group in ranked[:2])
    if first is None or second is None or c.metric.text(first) == c.metric.text(second):
        return ''
    ahead = second > first if c.metric.rises else second < first
    return f' After the same training time {ranked[1].name} is ahead.' if ahead else ''


def _values(c: Comparison, ranked: Sequence[Group], **limits: float) -> str:
    values = [(group.name, group.mean(c.metric, **limits)) for group in ranked]
    return ', '.join(f'{name} {"-" if value is None else c.metric.text(value)}' for name, value in values)


def _certainty(c: Comparison, first: Group, second: Group) -> str:
    counts = len(first.runs), len(second.runs)
    for group in (first, second):
        if group.repeated_seed is not None:
            return (
                f'{group.name} has several runs of the seed {group.repeated_seed}. Such runs say nothing about chance: '
                'train with other seeds (--cfg-options randomness.seed=1).'
            )
    if counts == (1, 1):
        return (
            'One seed each: the difference may be chance. To see how far runs of one config differ, train with other '
            'seeds (--cfg-options randomness.seed=1) and give all work dirs.'
        )
    if min(counts) == 1:
        name = first.name if counts[0] == 1 else second.name
        return f'{name} has one seed only: how far its runs differ is not known.'
    if overlap(c, first, second):
        return f'Some run of {second.name} is as good as some run of {first.name}: more seeds are needed to decide.'
    return f'Every run of {first.name} is better than every run of {second.name}; {sum(counts)} runs in all are few.'


def _data(c: Comparison) -> str:
    shown = '; '.join(f'{d.key}: {", ".join(sorted(set(d.texts())))}' for d in c.validation_data[:2])
    check = 'The figures cannot be compared' if c.other_data else 'Make sure that these are the same images'
    return f'The validation data differ in {shown}. {check}.'


def _loss(run: Run) -> str:
    steps, values = run.log.curve('loss')
    return f', loss {values[-1]:.4g} at iteration {steps[-1]}' if steps else ''
