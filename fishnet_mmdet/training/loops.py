"""Training loops that stop and go on anywhere as if they had never stopped.

Two things make that so. What a sample's transforms draw depends on the sample's place in the run alone: on the seed, the
rank, the epoch and its position, not on which worker loads it nor on what that worker did before. And what the model
draws goes on from iteration to iteration, whatever loaders, hooks and validations draw in between. So neither workers
nor skipped batches have a state worth saving: a resumed run starts its loader at the very position, loading nothing twice.
"""

import itertools
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.dist import all_gather, get_rank, get_world_size
from mmengine.registry import DATA_SAMPLERS, FUNCTIONS, LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Sampler

from fishnet_mmdet.training.checkpoints.random_state import Draws, seed_sample


@dataclass(frozen=True)
class SeededBatch:
    """The indices of a batch; going through them, where the samples are loaded, seeds each one's draws.

    Attributes:
        indices: Of the samples.
        key: Says which batch of the run this is.
    """

    indices: list[int]
    key: tuple[int, ...]

    def __iter__(self) -> Iterator[int]:
        for place, index in enumerate(self.indices):
            seed_sample((*self.key, place))
            yield index

    def __len__(self) -> int:
        return len(self.indices)


@DATA_SAMPLERS.register_module()
class SeededBatches(Sampler):
    """Batches of another batch sampler, each with a seed of its own, from any position on.

    It yields nothing before `start` said where to begin: MMEngine makes an iterator while it builds an
    iteration-based loop, and samplers remember what they were asked.

    Args:
        sampler: Of single indices.
        batch_size: Samples in a batch.
        batch_sampler: Config of the batch sampler to draw from; torch's own by default.
        drop_last: Whether torch's own drops an incomplete last batch.
        endless: Whether to go on with the next epoch by itself, as iteration-based loops want it.
        seed: Of the run.
    """

    def __init__(
        self,
        sampler: Sampler,
        batch_size: int,
        batch_sampler: dict | None = None,
        drop_last: bool = False,
        endless: bool = False,
        seed: int = 0,
    ) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        self.endless = endless
        self.seed = seed
        self._start: tuple[int, int] | None = None
        if batch_sampler is None:
            self.batches = BatchSampler(sampler, batch_size, drop_last)
        else:
            defaults = dict(sampler=sampler, batch_size=batch_size)
            self.batches = DATA_SAMPLERS.build(batch_sampler, default_args=defaults)

    def start(self, epoch: int, position: int) -> None:
        """Says of which epoch, and at which of its batches, the next iterator begins."""
        self._start = epoch, position

    def __iter__(self) -> Iterator[SeededBatch]:
        if self._start is None:
            return
        epoch, first = self._start
        rank = get_rank()
        for position, indices in enumerate(self._endless() if self.endless else self.batches):
            if position >= first:
                yield SeededBatch(list(indices), (self.seed, rank, epoch, position))

    def _endless(self) -> Iterator[Sequence[int]]:
        for epoch in itertools.count():
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(epoch)
            batch = None
            for batch in self.batches:
                yield batch
            if batch is None:
                raise ValueError(
                    f'the training data make no batch: {len(self.sampler)} images are left for this process after '
                    f'filtering, train_dataloader.batch_size is {self.batch_size}'
                )

    def __len__(self) -> int:
        return len(self.batches)


@FUNCTIONS.register_module()
def isolate_worker_signals(worker_id: int) -> None:
    """A loader's `worker_init_fn`: the worker leaves the trainer's process group, and takes SIGTERM from the trainer alone.

    Ctrl-C, torchrun and Slurm signal whole groups, systemd and other schedulers every process of a job; a worker that died
    of it would take the trainer along before it has saved. The trainer ends its workers itself, and should it be
    killed, they notice within seconds.

    Args:
        worker_id: Of the worker, from 0; not used.
    """
    if not hasattr(signal, 'sigwaitinfo'):  # on Windows and macOS
        return
    os.setpgid(0, 0)
    trainer = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def obey() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != trainer:
            pass
        os._exit(0)

    threading.Thread(target=obey, daemon=True).start()


class _Resumable:
    """What both loops share; comes before MMEngine's loop among the bases."""

    endless = False
    _done = 0
    _owes_validation = False

    def __init__(self, runner: Runner, dataloader: dict | DataLoader, *args: Any, **kwargs: Any) -> None:
        self._draws: Draws | None = None
        super().__init__(runner, self._seeded(dataloader, runner.seed), *args, **kwargs)
        if not isinstance(self.dataloader.batch_sampler, SeededBatches):
            raise TypeError(
                f'{type(self).__name__} builds the loader itself: train_dataloader must be a config (dict), not a '
                f'{type(dataloader).__name__}'
            )
        self.batches: SeededBatches = self.dataloader.batch_sampler

    def _seeded(self, dataloader: dict | DataLoader, seed: int) -> dict | DataLoader:
        if not isinstance(dataloader, Mapping):
            return dataloader
        config = dict(dataloader)
        own = dict(type='SeededBatches', endless=self.endless, seed=seed, drop_last=config.pop('drop_last', False))
        config['batch_sampler'] = {**own, 'batch_sampler': config.pop('batch_sampler', None)}
        config.setdefault('worker_init_fn', dict(type='isolate_worker_signals'))
        return config

    @contextmanager
    def _own_draws(self) -> Iterator[None]:
        """Around an iteration: its draws follow those of the iteration before, as if nothing had drawn in between."""
        if self._draws is not None:
            self._draws.restore()
        self._draws = None
        yield
        self._draws = self._draws or Draws.now()

    def progress(self, epoch: int, iteration: int, validated: bool) -> dict[str, Any]:
        """What a checkpoint needs beyond MMEngine's to go on exactly: plain containers and tensors. All ranks call it.

        Args:
            epoch: Of the checkpoint, as in its `meta`.
            iteration: Likewise.
            validated: Whether a validation that is due here is behind.
        """
        self._draws = self._draws or Draws.now()
        own = {**self._draws.tensors(), 'seed': torch.tensor([self.batches.seed])}
        draws = {name: all_gather(tensor) for name, tensor in own.items()}
        return {
            'sampler_seed': getattr(self.batches.sampler, 'seed', None),
            'batches_done': self._done_of(epoch, iteration),
            'batches': len(self.batches),
            'validated': validated,
            'draws': [{name: draws[name][rank] for name in draws} for rank in range(get_world_size())],
            'buffers': buffers_of_ranks(self.runner),
        }

    def go_on(self, progress: Mapping[str, Any] | None) -> str | None:
        """Takes up what `progress` kept; None is of a checkpoint without it.

        Returns:
            Why the run will not be exactly what it would have been, if so.
        """
        if progress is None:
            return 'the checkpoint holds no random state'
        self._owes_validation = not progress['validated']
        ranks = len(progress['draws'])
        draws = progress['draws'][get_rank() % ranks]
        self.batches.seed = int(draws['seed'])
        if progress['sampler_seed'] is not None:
            self.batches.sampler.seed = progress['sampler_seed']
        others = []
        if ranks != get_world_size():
            others.append(f'the checkpoint was written by {ranks} processes, and now there are {get_world_size()}')
        if progress['batches'] != len(self.batches):
            others.append(
                f'an epoch had {progress["batches"]} batches, and now has {len(self.batches)}; the learning rate goes on '
                'as the checkpoint has it, whatever --auto-scale-lr says, and schedules by iteration keep their length'
            )
        if others:
            return ', '.join(others)
        self._done = progress['batches_done']
        self._draws = Draws.of(draws)
        if progress['buffers'] is not None:
            fill_buffers(self.runner, progress['buffers'][get_rank()])
        return None

    def make_up_validation(self) -> None:
        """Validates, if the checkpoint was written where a validation was due and the run ended before it was over."""
        done, last = self._steps_done()
        self._decide_current_val_interval()
        due = done >= self.val_begin and (done % self.val_interval == 0 or done == last)
        if self._owes_validation and due and self.runner.val_loop is not None:
            if self._draws is not None:
                self._draws.restore()
            self.runner.val_loop.run()


@LOOPS.register_module()
class ResumableEpochLoop(_Resumable, EpochBasedTrainLoop):
    """MMEngine's epoch-based loop, with the same arguments, that also goes on in mid-epoch."""

    _begun: tuple[int, int] = (-1, 0)

    def go_on(self, progress: Mapping[str, Any] | None) -> str | None:
        """Takes up what `progress` kept; where epochs have or had another length, counts the iterations to come anew."""
        reason = super().go_on(progress)
        if reason and progress and progress['batches_done']:
            self._owes_validation = False  # the epoch begins anew: the one before has had its own
        # What is behind stays counted: checkpoints, gradients and logs go by iterations.
        last = self._iter - self._done + (self._max_epochs - self._epoch) * len(self.batches)
        if last != self._max_iters:
            self._max_iters = last
            self.runner.optim_wrapper.initialize_count_status(self.runner.model, self._iter, last)
        return reason

    def run_epoch(self) -> None:
        """Trains an epoch, or what is left of it."""
        self._begun = self._epoch, self._iter - self._done
        self.batches.start(self._epoch, self._done)
        super().run_epoch()
        self._done = 0

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Trains on one batch.

        Args:
            idx: Of the batch among those that the loader gave.
            data_batch: The batch.
        """
        with self._own_draws():
            super().run_iter(self._done + idx, data_batch)

    def _done_of(self, epoch: int, iteration: int) -> int:
        """How many batches of an epoch are behind an iteration; none of an epoch that is still to begin."""
        begun, first = self._begun
        return iteration - first if epoch == begun else 0

    def _steps_done(self) -> tuple[int, int]:
        """Of those that validations are counted in, and of how many; none is due in the middle of an epoch."""
        return -1 if self._done else self._epoch, self._max_epochs


@LOOPS.register_module()
class ResumableIterLoop(_Resumable, IterBasedTrainLoop):
    """MMEngine's iteration-based loop, with the same arguments, that goes on without loading old batches again.

    Workers live as long as the loop: at the end of an epoch its loader goes on by itself.
    """

    endless = True

    def run(self) -> nn.Module:
        """Trains to the end."""
        # What MMEngine skips on a resume are these, instead of batches.
        skipped = itertools.repeat(None, self._iter)
        self.dataloader_iterator = itertools.chain(skipped, self._batches_to_come())
        return super().run()

    def _batches_to_come(self) -> Iterator[Any]:
        self.batches.start(0, self._iter)
        yield from self.dataloader

    def run_iter(self, data_batch: Any) -> None:
        """Trains on one batch.

        Args:
            data_batch: The batch.
        """
        with self._own_draws():
            super().run_iter(data_batch)

    def _done_of(self, epoch: int, iteration: int) -> int:
        return iteration

    def _steps_done(self) -> tuple[int, int]:
        return self._iter, self._max_iters


def _floating_buffers(runner: Runner) -> list[Tensor]:
    """Those of the model and of its running averages (EMAHook)."""
    models = [runner.model, *(hook.ema_model for hook in runner.hooks if hasattr(hook, 'ema_model'))]
    return [buffer for model in models for buffer in model.buffers() if buffer.is_floating_point()]


def buffers_of_ranks(runner: Runner) -> list[Tensor] | None:
    """Each rank's buffers, such as BN statistics, in one vector each; None where all have the same.

    Between two synchronisations every rank has statistics of its own, and the weights of a checkpoint are rank 0's.
    """
    buffers = _floating_buffers(runner)
    if get_world_size() == 1 or not buffers:
        return None
    mine = torch.cat([buffer.detach().flatten() for buffer in buffers])
    vectors = [vector.cpu() for vector in all_gather(mine)]
    return None if all(torch.equal(vector, vectors[0]) for vector in vectors) else vectors


def fill_buffers(runner: Runner, vector: Tensor) -> None:
    """Puts a vector of `buffers_of_ranks` back."""
    buffers = _floating_buffers(runner)
    for buffer, part in zip(buffers, vector.split([b.numel() for b in buffers]), strict=True):
        buffer.copy_(part.view_as(buffer))
