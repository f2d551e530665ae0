"""The state of a process's random generators: captured, restored, stored as tensors; and seeds for single samples."""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class RandomState:
    """The state of the generators of Python, NumPy, torch and, if it is in use, this process's CUDA device."""

    python: tuple
    numpy: tuple
    torch: Tensor
    cuda: Tensor | None

    @classmethod
    def capture(cls) -> 'RandomState':
        """Returns the present state of this process."""
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
        return cls(random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda)

    def restore(self) -> None:
        """Sets the generators of this process to this state."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.cuda is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.cuda)

    def to_tensors(self) -> dict[str, Tensor]:
        """Returns the state as tensors, which have the same shapes in every process."""
        version, words, gauss = self.python
        _, key, position, has_gauss, cached = self.numpy
        state = {
            'python': torch.tensor([version, *words]),
            'python_gauss': torch.tensor([float('nan') if gauss is None else gauss], dtype=torch.float64),
            'numpy': torch.tensor([position, has_gauss, *key.tolist()]),
            'numpy_gauss': torch.tensor([cached], dtype=torch.float64),
            'torch': self.torch,
        }
        return state if self.cuda is None else state | {'cuda': self.cuda}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> 'RandomState':
        """Returns the state that `to_tensors` was called on."""
        version, *words = tensors['python'].tolist()
        (gauss,) = tensors['python_gauss'].tolist()
        position, has_gauss, *key = tensors['numpy'].tolist()
        (cached,) = tensors['numpy_gauss'].tolist()
        return cls(
            # NaN, which is not equal to itself, stands for None.
            (version, tuple(words), None if gauss != gauss else gauss),
            ('MT19937', np.array(key, dtype=np.uint32), position, has_gauss, cached),
            tensors['torch'].cpu(),
            tensors['cuda'].cpu() if 'cuda' in tensors else None,
        )


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Restores, at the end, the state that the generators of this process had at the beginning."""
    state = RandomState.capture()
    try:
        yield
    finally:
        state.restore()


def seed_sample(key: Sequence[int]) -> None:
    """Seeds the generators that transforms use on the CPU.

    Args:
        key: Numbers that identify the sample, none of them negative; different keys give independent seeds.
    """
    words = np.random.SeedSequence(key).generate_state(6)
    random.seed(words[:2].tobytes())
    np.random.seed(words[2:4])
    torch.default_generator.manual_seed(int.from_bytes(words[4:].tobytes(), 'little') >> 1)
