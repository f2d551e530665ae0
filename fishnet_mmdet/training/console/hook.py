"""Tells the screen how far a run is."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from fishnet_mmdet.training.console.bar import BarLine
from fishnet_mmdet.training.console.fields import Field, duration, pace
from fishnet_mmdet.training.console.figures import Figure, is_figure, main_figures
from fishnet_mmdet.training.console.rows import Row, short_path
from fishnet_mmdet.training.console.screen import Screen

CHECKPOINTS = {'last': 'last_ckpt', 'best': 'best_ckpt'}
"""Where MMEngine notes the checkpoints."""


def follow(runner: Runner, screen: Screen, rows: Callable[[Runner], Sequence[Row]]) -> None:
    """Makes a runner show on a screen where it is; nothing with MMEngine's own lines, and on other ranks.

    Args:
        runner: The runner.
        screen: The screen.
        rows: Makes the rows of a runner that is about to train or test.
    """
    if screen.is_own and is_main_process():
        runner.register_hook(ScreenHook(screen, rows))


def harmless(method: Callable) -> Callable:
    """A method of a hook that ends no run: where it fails, it warns, and the hook shows nothing from there on."""

    @wraps(method)
    def call(self: 'ScreenHook', runner: Runner, *args: Any, **kwargs: Any) -> None:
        if self.has_failed:
            return
        try:
            method(self, runner, *args, **kwargs)
        except Exception as error:
            self.has_failed = True
            self.screen.give_up_bar()
            runner.logger.warning(
                f'The screen cannot follow this run ({type(error).__name__}: {error}); the log file is complete, and '
                "--console mmengine shows MMEngine's lines"
            )

    return call


class ScreenHook(Hook):
    """Shows the rows of a run when it begins, then where it is, and the figures of each validation and test.

    Args:
        screen: The screen.
        rows: Makes the rows of a runner that is about to train or test.

    Attributes:
        screen: The screen.
        has_failed: Whether it could not follow the run.
    """

    # The rows come before the warnings of other hooks; MMEngine's RuntimeInfoHook has the same priority and is first.
    priority = 'VERY_HIGH'

    def __init__(self, screen: Screen, rows: Callable[[Runner], Sequence[Row]]) -> None:
        self.screen, self._rows = screen, rows
        self.has_failed = False
        self._began_at = 0.0
        self._figures: list[Figure] = []
        self._trains_since = 0.0
        self._validation_seconds: float | None = None

    def _begin(self, runner: Runner) -> None:
        for name, text in self._rows(runner):
            self.screen.row(name, text)

    @harmless
    def before_train(self, runner: Runner) -> None:
        """Shows the rows."""
        self._trains_since = time.monotonic()
        counts_iterations = isinstance(runner.train_loop, IterBasedTrainLoop)
        self.screen.epochs = None if counts_iterations else runner.max_epochs
        self._figures = main_figures(_latest(runner))
        self._begin(runner)

    @harmless
    def before_train_epoch(self, runner: Runner) -> None:
        """Shows the bar before the first batch is there."""
        self.screen.began = True
        self._draw_training(runner, getattr(runner.train_loop, 'batches_done', 0), 0)

    @harmless
    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Moves the bar."""
        done = batch_idx + 1
        if self.screen.bar_is_due() or done == _length(runner.train_dataloader):
            self._draw_training(runner, done, 1)

    def _draw_training(self, runner: Runner, done: int, ahead: int) -> None:
        """Draws the bar of a training.

        Args:
            runner: The runner.
            done: Batches of the epoch that are done.
            ahead: Iterations that are done and that the runner has not counted yet.
        """
        if self.screen.epochs is None:
            title, done, count = 'iteration', runner.iter + ahead, runner.max_iters
        else:
            epoch = min(runner.epoch + 1, runner.max_epochs)
            title, count = f'epoch {epoch}/{runner.max_epochs}', _length(runner.train_dataloader)
        self.screen.set_bar(BarLine(title, done, count, self._training_fields(runner)))

    def _training_fields(self, runner: Runner) -> list[Field]:
        scalars, window = runner.message_hub.log_scalars, runner.log_processor.window_size
        loss, seconds, norm = (
            scalars[key].mean(window) if key in scalars and len(scalars[key].data[0]) else None
            for key in ('train/loss', 'train/time', 'train/grad_norm')
        )
        rate = scalars['train/lr'].current() if 'train/lr' in scalars else None
        return [
            Field(f'loss {loss:.4g}' if loss is not None else '', 1),
            *(Field(str(figure), 3 + 2 * index) for index, figure in enumerate(self._figures)),
            Field(f'lr {rate:.2g}' if rate else '', 6),
            Field(f'grad {norm:.3g}' if norm is not None else '', 7),
            Field(pace(seconds) if seconds else '', 4),
            Field(self._time_left(runner), 2),
        ]

    def _time_left(self, runner: Runner) -> str:
        """The time that the training will take from here, with its validations once one of them was measured."""
        left = runner.message_hub.runtime_info.get('eta')
        if left is None or 'train/time' not in runner.message_hub.log_scalars:
            return ''
        validations = _validations_left(runner)
        if self._validation_seconds is None:
            return f'{duration(left)}{" + validation" if validations else ""} left'
        return f'{duration(left + validations * self._validation_seconds)} left'

    @harmless
    def before_val_epoch(self, runner: Runner) -> None:
        """Starts the bar of a validation."""
        self.screen.began = True
        self._began_at = time.monotonic()
        self._draw_evaluation('validation', 0, runner.val_dataloader)

    @harmless
    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Moves the bar."""
        self._draw_evaluation('validation', batch_idx + 1, runner.val_dataloader)

    @harmless
    def after_val_epoch(self, runner: Runner, metrics: Mapping[str, Any] | None = None) -> None:
        """Shows the main figures, and the best so far."""
        self._figures = main_figures(metrics or {}) or self._figures
        self._validation_seconds = time.monotonic() - self._began_at
        # Without a training, `runner.epoch` would build its loop.
        self._report(_position(runner, self.screen.epochs), metrics, _best(runner))

    @harmless
    def before_test_epoch(self, runner: Runner) -> None:
        """Shows the rows, and starts the bar."""
        self._begin(runner)
        self.screen.began = True
        self._began_at = time.monotonic()
        self._draw_evaluation('test', 0, runner.test_dataloader)

    @harmless
    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Moves the bar."""
        self._draw_evaluation('test', batch_idx + 1, runner.test_dataloader)

    @harmless
    def after_test_epoch(self, runner: Runner, metrics: Mapping[str, Any] | None = None) -> None:
        """Shows the main figures."""
        self._report('test', metrics, {})

    def _draw_evaluation(self, title: str, done: int, loader: DataLoader) -> None:
        count = _length(loader)
        if not (done in (0, count) or self.screen.bar_is_due()):
            return
        fields = []
        if done and done == count:
            fields = [Field('computing the figures', 1)]
        elif done:
            seconds = (time.monotonic() - self._began_at) / done
            fields = [Field(pace(seconds), 2), Field(f'{duration(seconds * (count - done))} left' if count else '', 1)]
        self.screen.set_bar(BarLine(title, done, count, fields))

    def _report(self, place: str, metrics: Mapping[str, Any] | None, best: Mapping[str, Figure]) -> None:
        self.screen.hide_bar()
        texts = []
        for figure in main_figures(metrics or {}):
            known, note = best.get(figure.name), ''
            if known is not None and known.value > 0:
                note = ' (best so far)' if figure.value >= known.value else f' (best {known.number})'
            texts.append(f'{figure}{note}')
        if self.screen.is_own:
            taken = duration(time.monotonic() - self._began_at)
            figures = ', '.join(texts) or 'no figures'
            self.screen.show(f'{time.strftime("%H:%M:%S")}  {place}: {figures}, in {taken}', 'bold')

    @harmless
    def after_train(self, runner: Runner) -> None:
        """Removes the bar, and says where the checkpoints are."""
        self.screen.hide_bar()
        info = runner.message_hub.runtime_info
        files = [f'{name} checkpoint {short_path(info[key])}' for name, key in CHECKPOINTS.items() if info.get(key)]
        if self.screen.mode in ('bar', 'lines'):
            taken = duration(time.monotonic() - self._trains_since)
            self.screen.show('; '.join([f'{time.strftime("%H:%M:%S")}  trained in {taken}', *files]), 'bold')


def _length(loader: DataLoader) -> int | None:
    """Batches of a loader; None for a stream."""
    try:
        return len(loader)
    except TypeError:
        return None


def _validations_left(runner: Runner) -> int:
    """How many validations MMEngine's loops will run, if their interval stays what it is."""
    loop = runner.train_loop
    if runner.val_loop is None or not hasattr(loop, 'val_interval'):
        return 0
    counts_iterations = isinstance(loop, IterBasedTrainLoop)
    done, last = (loop.iter, loop.max_iters) if counts_iterations else (loop.epoch, loop.max_epochs)
    done = max(done, getattr(loop, 'val_begin', 1) - 1)
    return max(0, last // loop.val_interval - done // loop.val_interval + (last % loop.val_interval > 0))


def _position(runner: Runner, epochs: int | None) -> str:
    return f'validation after {f"epoch {runner.epoch}" if epochs else f"iteration {runner.iter}"}'


def _validations(runner: Runner) -> dict[str, list[float]]:
    """The figures of all validations so far, those before a resume too."""
    return {
        key.removeprefix('val/'): [float(value) for value in history.data[0] if is_figure(float(value))]
        for key, history in runner.message_hub.log_scalars.items()
        if key.startswith('val/') and key not in ('val/time', 'val/data_time')
    }


def _latest(runner: Runner) -> dict[str, float]:
    return {key: values[-1] for key, values in _validations(runner).items() if values}


def _best(runner: Runner) -> dict[str, Figure]:
    """The largest percentages by their names, where there are several validations."""
    largest = {key: max(values) for key, values in _validations(runner).items() if len(values) > 1}
    return {figure.name: figure for figure in main_figures(largest) if figure.is_percent}
