"""The random state of a process: captured, restored, kept as tensors, and seeded for one sample."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """Where the generators of Python, NumPy, torch and, if it is in use, this process's CUDA device stand."""

    python: tuple
    numpy: tuple
    torch: Tensor
    cuda: Tensor | None

    @classmethod
    def now(cls) -> 'Draws':
        """The state of this process at this moment."""
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
        return cls(random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda)

    def restore(self) -> None:
        """Makes the next draws of this process those that followed the capture."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.cuda is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.cuda)

    def tensors(self) -> dict[str, Tensor]:
        """The state as tensors, of the same shapes in every process."""
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
    def of(cls, tensors: Mapping[str, Tensor]) -> 'Draws':
        """The state that `tensors` was made of."""
        version, *words = tensors['python'].tolist()
        (gauss,) = tensors['python_gauss'].tolist()
        position, has_gauss, *key = tensors['numpy'].tolist()
        (cached,) = tensors['numpy_gauss'].tolist()
        return cls(
            (version, tuple(words), None if gauss != gauss else gauss),  # NaN alone differs from itself
            ('MT19937', np.array(key, dtype=np.uint32), position, has_gauss, cached),
            tensors['torch'].cpu(),
            tensors['cuda'].cpu() if 'cuda' in tensors else None,
        )


def seed_sample(key: Sequence[int]) -> None:
    """Seeds what transforms draw from on the CPU, by numbers that say which sample it is.

    Args:
        key: Not negative; two keys that differ give independent draws.
    """
    words = np.random.SeedSequence(key).generate_state(6)
    random.seed(words[:2].tobytes())
    np.random.seed(words[2:4])
    torch.default_generator.manual_seed(int.from_bytes(words[4:].tobytes(), 'little') >> 1)
