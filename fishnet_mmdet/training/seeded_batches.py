"""Batches whose random augmentation depends only on their place in the run."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from mmengine.dist import get_rank
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler, Sampler

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.training.checkpoints.random_state import RandomState, kept_random_state, seed_sample


@dataclass(frozen=True)
class SeededBatch:
    """The indices of one batch. Iterating over them, in the process that loads the samples, seeds each sample.

    Attributes:
        indices: Indices of the samples.
        key: Numbers that identify the batch within the run.
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
    """Gives each batch of another batch sampler its own seed, and can start at any position.

    What the samplers draw from the generators of Python, NumPy and torch comes from a random state of their own, which
    the seed of the run and the epoch determine. It does not depend on what the model draws, and a start at a later
    position repeats what was drawn for the batches before.

    It yields nothing until `start` or `follow` is called. MMEngine creates an iterator while it builds an
    iteration-based loop, and a sampler that yielded indices then would have advanced its state.

    Args:
        sampler: Sampler of single indices.
        batch_size: Samples in a batch.
        batch_sampler: Config of the batch sampler to draw from; torch's `BatchSampler` by default.
        drop_last: Whether torch's `BatchSampler` drops an incomplete last batch.
        endless: Whether to continue with the next epoch, as iteration-based loops need it.
        seed: Seed of the run.
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
        self._next: Callable[[], tuple[int, int]] | None = None
        if batch_sampler is None:
            self.batches = BatchSampler(sampler, batch_size, drop_last)
        else:
            defaults = dict(sampler=sampler, batch_size=batch_size)
            self.batches = DATA_SAMPLERS.build(batch_sampler, default_args=defaults)

    def start(self, epoch: int, position: int) -> None:
        """Sets the epoch of the next iterator, and the batch of that epoch at which it begins."""
        self.follow(lambda: (epoch, position))

    def follow(self, position: Callable[[], tuple[int, int]]) -> None:
        """Asks a function, at the beginning of each further iterator, for its epoch and its first batch."""
        self._next = position

    def __iter__(self) -> Iterator[SeededBatch]:
        if self._next is None:
            return
        epoch, first = self._next()
        rank = get_rank()
        source = self._endless() if self.endless else self.batches
        for position, indices in enumerate(_with_own_random_state(source, (self.seed, epoch), first), first):
            yield SeededBatch(list(indices), (self.seed, rank, epoch, position))

    def _endless(self) -> Iterator[Sequence[int]]:
        for epoch in itertools.count():
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(epoch)
            batch = None
            for batch in self.batches:
                yield batch
            if batch is None:
                raise ConfigError(
                    f'the training data make no batch: {len(self.sampler)} images are left for this process after '
                    f'filtering, and train_dataloader.batch_size is {self.batch_size}. Set a smaller batch_size, or '
                    'look at filter_cfg'
                )

    def __len__(self) -> int:
        return len(self.batches)


def _with_own_random_state(
    source: Iterable[Sequence[int]], key: Sequence[int], skipped: int
) -> Iterator[Sequence[int]]:
    """Draws batches with generators that are seeded by a key and that nothing else draws from; drops the first ones."""
    with kept_random_state():
        seed_sample(key)
        batches = iter(source)
        for _ in itertools.islice(batches, skipped):
            pass
        own = RandomState.capture()
    while True:
        with kept_random_state():
            own.restore()
            batch = next(batches, None)
            own = RandomState.capture()
        if batch is None:
            return
        yield batch
