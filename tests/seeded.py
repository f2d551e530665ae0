"""Seeded weights, the keys of the released checkpoints, and a FishNet small enough for fast tests."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from fishnet_mmdet import FishNetArch, FishNetClassifier

REFERENCE = Path(__file__).parent / 'reference'

NARROW = FishNetArch(
    tail=(1, 2, 1),
    bridge=1,
    body=(1, 1, 1),
    body_transfer=(1, 1, 1),
    head=(1, 1, 1),
    head_transfer=(1, 1, 2),
    stem_width=8,
    tail_widths=(8, 16, 32),
    body_widths=(32, 24, 16),
)


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


def official_state(name: str, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """The state dict of a released checkpoint, with seeded weights."""
    state = {key: seeded_tensor(key, shape) for key, shape in official_keys(name).items()}
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}


def seeded_classifier(arch=NARROW, num_classes: int = 7) -> FishNetClassifier:
    """A classifier with seeded weights, in eval mode."""
    net = FishNetClassifier(arch, num_classes).eval()
    seed(net)
    return net


def seed(net: torch.nn.Module) -> None:
    """Fills a network with seeded weights by its own keys."""
    filled = {k: seeded_tensor(k, tuple(v.shape)).to(v.dtype) for k, v in net.state_dict().items()}
    net.load_state_dict(filled)


def load_in_order(net: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Fills a network from a released state dict, key by key in order, without using names."""
    own = net.state_dict()
    assert len(own) == len(state)
    net.load_state_dict({key: value.reshape(own[key].shape) for key, value in zip(own, state.values(), strict=True)})


def relative_error(ours, theirs) -> float:
    """The norm of the difference, as a share of the norm of the reference."""
    theirs = torch.as_tensor(theirs, dtype=torch.float64)
    return ((ours.double() - theirs).norm() / theirs.norm()).item()
