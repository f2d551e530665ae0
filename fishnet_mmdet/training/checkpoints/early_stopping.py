"""What MMEngine's EarlyStoppingHook counts, which MMEngine stores in no checkpoint."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.hooks import EarlyStoppingHook
from mmengine.runner import Runner


def counts_of(runner: Runner, metrics: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Returns what each EarlyStoppingHook of a run has counted so far.

    Args:
        runner: The run.
        metrics: What a validation has just returned, if the hooks have not seen it yet.
    """
    return [
        dict(
            monitor=hook.monitor,
            wait_count=hook.wait_count,
            best_score=hook.best_score,
            unseen=None if metrics is None else metrics.get(hook.monitor),
        )
        for hook in _hooks(runner)
    ]


def restore_counts(runner: Runner, counts: Sequence[Mapping[str, Any]]) -> None:
    """Continues from what `counts_of` returned; a hook that monitors another metric begins from nothing."""
    for hook, count in zip(_hooks(runner), counts, strict=False):
        if count['monitor'] != hook.monitor:
            continue
        hook.wait_count, hook.best_score = count['wait_count'], count['best_score']
        if count['unseen'] is not None:
            hook.after_val_epoch(runner, {hook.monitor: count['unseen']})


def _hooks(runner: Runner) -> list[EarlyStoppingHook]:
    return [hook for hook in runner.hooks if isinstance(hook, EarlyStoppingHook)]
