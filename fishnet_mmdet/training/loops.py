"""Training loops that can stop and continue at any iteration with the same result as an uninterrupted run.

Two properties make this possible:

- The random augmentation of a sample depends only on its place in the run: the seed, the rank, the epoch and the
  position. It does not depend on the worker that loads the sample, or on what that worker did before.
- The random state of the model is carried from iteration to iteration. Loaders, hooks and validations that draw in
  between do not change it.

So neither workers nor skipped batches have a state that must be saved. A resumed run starts its loader at the right
position and loads nothing twice.
"""

import copy
import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dist import all_gather, get_rank, get_world_size
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from fishnet_mmdet.training.checkpoints.loop_state import ExactLoop, buffers_of_ranks, fill_buffers
from fishnet_mmdet.training.checkpoints.random_state import RandomState
from fishnet_mmdet.training.seeded_batches import SeededBatches
from fishnet_mmdet.training.workers import isolate_worker_signals


class _Resumable(ExactLoop):
    """What both loops share. It comes before MMEngine's loop among the bases."""

    endless = False
    batches_done = 0
    _owes_validation = False

    def __init__(self, runner: Runner, dataloader: dict | DataLoader, *args: Any, **kwargs: Any) -> None:
        self._random_state: RandomState | None = None
        super().__init__(runner, self._seeded(dataloader, runner.seed), *args, **kwargs)
        if not isinstance(self.dataloader.batch_sampler, SeededBatches):
            raise TypeError(
                f'{type(self).__name__} builds the loader itself: train_dataloader must be a config (dict), not a '
                f'{type(dataloader).__name__}'
            )
        self.batches: SeededBatches = self.dataloader.batch_sampler
        # torch leaves None with a batch sampler. Hooks read the number, such as MMPretrain's PreciseBNHook.
        object.__setattr__(self.dataloader, 'batch_size', self.batches.batch_size)

    def _seeded(self, dataloader: dict | DataLoader, seed: int) -> dict | DataLoader:
        if not isinstance(dataloader, Mapping):
            return dataloader
        # A copy of the same class: in a config of classes, a plain dict would hold objects that are not imported yet.
        config = copy.copy(dataloader)
        own = dict(type='SeededBatches', endless=self.endless, seed=seed, drop_last=config.pop('drop_last', False))
        config['batch_sampler'] = {**own, 'batch_sampler': config.pop('batch_sampler', None)}
        # By name: the FlexibleRunner of MMEngine does not take the function itself.
        config.setdefault('worker_init_fn', dict(type=isolate_worker_signals.__name__))
        # MMEngine takes it out of the arguments only where it sets a worker_init_fn itself.
        config.pop('disable_subprocess_warning', None)
        return config

    @contextmanager
    def _own_random_state(self) -> Iterator[None]:
        """Runs an iteration with the random state that the iteration before left."""
        if self._random_state is not None:
            self._random_state.restore()
        self._random_state = None
        yield
        self._random_state = self._random_state or RandomState.capture()

    def progress(self, epoch: int, iteration: int, validated: bool) -> dict[str, Any]:
        """Returns the batches done, the random state and the buffers of all ranks; see `ExactLoop.progress`."""
        self._random_state = self._random_state or RandomState.capture()
        own = {**self._random_state.to_tensors(), 'seed': torch.tensor([self.batches.seed])}
        states = {name: all_gather(tensor) for name, tensor in own.items()}
        return {
            'sampler_seed': getattr(self.batches.sampler, 'seed', None),
            'batches_done': self._done_of(epoch, iteration),
            'batches': len(self.batches),
            'validated': validated,
            'draws': [{name: states[name][rank] for name in states} for rank in range(get_world_size())],
            'buffers': buffers_of_ranks(self.runner),
        }

    def restore_progress(self, progress: Mapping[str, Any] | None) -> str | None:
        """Continues from what `progress` returned; see `ExactLoop.restore_progress`."""
        if progress is None:
            return 'the checkpoint holds no random state'
        self._owes_validation = not progress['validated']
        ranks = len(progress['draws'])
        state = progress['draws'][get_rank() % ranks]
        self.batches.seed = int(state['seed'])
        if progress['sampler_seed'] is not None:
            self.batches.sampler.seed = progress['sampler_seed']
        if reasons := self._differences(ranks, progress['batches']):
            return ', '.join(reasons)
        self.batches_done = progress['batches_done']
        self._random_state = RandomState.from_tensors(state)
        return None if progress['buffers'] is None else fill_buffers(self.runner, progress['buffers'][get_rank()])

    def _differences(self, ranks: int, batches: int) -> list[str]:
        """Differences to the run that wrote the checkpoint, with `ranks` processes and `batches` per epoch."""
        reasons = []
        if ranks != get_world_size():
            reasons.append(f'the checkpoint was written by {ranks} processes, and now there are {get_world_size()}')
        if batches != len(self.batches):
            reasons.append(
                f'an epoch had {batches} batches, and now has {len(self.batches)}; the learning rate of the checkpoint '
                'is kept, with or without --auto-scale-lr, and schedules by iteration keep their length'
            )
        return reasons

    def make_up_validation(self) -> None:
        """Validates, if the checkpoint was written where a validation was due and the run ended before it was done."""
        if not self._owes_validation or self.runner.val_loop is None:
            return
        done, last = self._steps_done()
        self._decide_current_val_interval()
        due = done >= self.val_begin and (done % self.val_interval == 0 or done == last)
        if due:
            if self._random_state is not None:
                self._random_state.restore()
            self.runner.val_loop.run()


@LOOPS.register_module()
class ResumableEpochLoop(_Resumable, EpochBasedTrainLoop):
    """MMEngine's epoch-based loop, with the same arguments, that can also continue in the middle of an epoch."""

    # The epoch that runs, and the iteration at which it began.
    _begun: tuple[int, int] = (-1, 0)

    def __init__(self, runner: Runner, dataloader: dict | DataLoader, *args: Any, **kwargs: Any) -> None:
        super().__init__(runner, dataloader, *args, **kwargs)
        # The loader asks, so that a subclass with its own `run_epoch` starts at the right position too.
        self.batches.follow(self._begin_epoch)

    def _begin_epoch(self) -> tuple[int, int]:
        # A hook may take batches of its own in the middle of an epoch, which has begun already.
        if self._begun[0] != self._epoch:
            if self._begun[0] != -1:
                self.batches_done = 0
            self._begun = self._epoch, self._iter - self.batches_done
        return self._epoch, self.batches_done

    def restore_progress(self, progress: Mapping[str, Any] | None) -> str | None:
        """Continues from what `progress` returned; where the length of epochs changed, recounts the iterations left."""
        reason = super().restore_progress(progress)
        if reason and progress and progress['batches_done']:
            # The epoch starts from its beginning. The one before has been validated.
            self._owes_validation = False
        # Past iterations stay counted: checkpoints, gradient accumulation and logs go by iterations.
        last = self._iter - self.batches_done + (self._max_epochs - self._epoch) * len(self.batches)
        if last != self._max_iters:
            self._max_iters = last
            self.runner.optim_wrapper.initialize_count_status(self.runner.model, self._iter, last)
        return reason

    def run_epoch(self) -> None:
        """Trains an epoch, or what is left of it."""
        super().run_epoch()
        self.batches_done = 0

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Trains on one batch.

        Args:
            idx: Index of the batch among those that the loader returned.
            data_batch: The batch.
        """
        place = self.batches_done + idx
        with self._own_random_state():
            super().run_iter(place, data_batch)
        if place + 1 == len(self.batches):
            # Hooks that take batches at the end of the epoch get all of it.
            self.batches_done = 0

    def _done_of(self, epoch: int, iteration: int) -> int:
        """The number of batches of an epoch before an iteration; 0 for an epoch that has not begun."""
        begun, first = self._begun
        return iteration - first if epoch == begun else 0

    def _steps_done(self) -> tuple[int, int]:
        """Epochs done and epochs in all; -1 done in the middle of an epoch, where no validation is due."""
        return -1 if self.batches_done else self._epoch, self._max_epochs


class _Batches(Iterator):
    """An iterator that OneDL's MMEngine can advance by `skip_iter` on a resume, where OpenMMLab's takes batch by batch.

    Args:
        batches: What to iterate over.
    """

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches

    def __next__(self) -> Any:
        return next(self._batches)

    def skip_iter(self, count: int) -> None:
        """Takes batches and drops them."""
        for _ in range(count):
            next(self)


@LOOPS.register_module()
class ResumableIterLoop(_Resumable, IterBasedTrainLoop):
    """MMEngine's iteration-based loop, with the same arguments, that continues without loading old batches again.

    Workers live as long as the loop: at the end of an epoch the loader continues with the next one.
    """

    endless = True

    def __init__(self, runner: Runner, dataloader: dict | DataLoader, *args: Any, **kwargs: Any) -> None:
        super().__init__(runner, dataloader, *args, **kwargs)
        # So that a subclass with its own `run` starts at the right position too, by whichever of the two it loads.
        self.batches.follow(lambda: (0, self._iter))
        self.dataloader_iterator = _Batches(self._all_batches())

    def _all_batches(self) -> Iterator[Any]:
        """None for each batch that MMEngine skips on a resume, then the batches to train on."""
        done = self._iter
        yield from itertools.repeat(None, done)
        yield from self.dataloader

    def run_iter(self, data_batch: Any) -> None:
        """Trains on one batch.

        Args:
            data_batch: The batch. None, from a `run` that skips nothing on a resume, stands for the next one.
        """
        while data_batch is None:
            data_batch = next(self.dataloader_iterator)
        with self._own_random_state():
            super().run_iter(data_batch)

    def _done_of(self, epoch: int, iteration: int) -> int:
        return iteration

    def _steps_done(self) -> tuple[int, int]:
        return self._iter, self._max_iters
