"""Seeded weights and the order-preserving map between our keys and the released checkpoints'."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

REFERENCE = Path(__file__).parent / 'reference'


def seeded_tensor(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The tensor that `official_golden_99.json` prescribes for a key of the released checkpoints."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    if key.endswith('num_batches_tracked'):
        return torch.tensor(0)
    if key.endswith('running_var'):
        array = rng.uniform(0.5, 1.5, shape)
    elif key.endswith('running_mean'):
        array = rng.normal(0, 0.1, shape)
    elif len(shape) == 4:
        array = rng.normal(0, 1, shape) * np.sqrt(1 / np.prod(shape[1:]))
    elif key.endswith('weight'):
        array = rng.uniform(0.8, 1.2, shape)
    else:
        array = rng.normal(0, 0.1, shape)
    return torch.from_numpy(array)


def official_keys(name: str) -> dict[str, tuple[int, ...]]:
    """Every key and shape of a released checkpoint, in its order."""
    return {k: tuple(s) for k, s in json.loads((REFERENCE / 'official_keys.json').read_text())[name].items()}


def load_seeded(net: torch.nn.Module, keys: Mapping[str, tuple[int, ...]]) -> None:
    """Fills a network with seeded weights, released key by released key, in order."""
    own = net.state_dict()
    assert len(own) == len(keys)
    filled = {
        name: seeded_tensor(key, shape).reshape(own[name].shape)
        for name, (key, shape) in zip(own, keys.items(), strict=True)
    }
    net.load_state_dict(filled)
