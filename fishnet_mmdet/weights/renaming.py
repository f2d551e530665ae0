"""Renames weights of any known key naming to our own, and adapts the few tensors that differ."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fishnet_mmdet.weights.key_naming import KeyNaming

BN_EPS = 1e-5


@dataclass
class RenamedWeights:
    """Weights in our own key naming.

    Attributes:
        state: Weights by our own keys.
        source_keys: Our own key -> the key of the source.
        unexplained: Keys of the source that are not part of its naming.
        notes: Remarks about tensors that were added.
    """

    state: dict[str, Tensor]
    source_keys: dict[str, str] = field(default_factory=dict)
    unexplained: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def rename(state: Mapping[str, Tensor], naming: KeyNaming) -> RenamedWeights:
    """Renames weights to our own key naming. Values are unchanged, with three exceptions.

    - The last layer of the classifier is a 1x1 convolution in other namings and linear in ours: its weight
      (classes, C, 1, 1) becomes (classes, C).
    - The counters `num_batches_tracked`, which files older than torch 0.4.1 lack, are added as zeros.
    - Where the source's network lacks one of our norms (`KeyNaming.identity_norms`), the identity is added: weight 1,
      bias 0, mean 0, and variance 1 minus the epsilon of BN. The ReLU after it changes nothing either, because its
      input is the output of the stem, a maximum of ReLUs.

    Args:
        state: Weights by the keys of the source.
        naming: The naming of these keys, from `namings.recognise_naming`.
    """
    source_keys: dict[str, str] = {}
    unexplained = []
    for key in state:
        own = naming.to_own(key)
        if own is None or own in source_keys:
            unexplained.append(key)
        else:
            source_keys[own] = key
    renamed = RenamedWeights({own: state[key] for own, key in source_keys.items()}, source_keys, unexplained)
    last = renamed.state.get('head.fc.weight')
    if last is not None and tuple(last.shape[2:]) == (1, 1):
        renamed.state['head.fc.weight'] = last.reshape(last.shape[:2])
    _add_identity_norms(renamed, naming)
    _add_counters(renamed)
    return renamed


def _add_identity_norms(renamed: RenamedWeights, naming: KeyNaming) -> None:
    for norm in naming.identity_norms:
        conv = renamed.state.get(norm.replace('.norm', '.conv') + '.weight')
        if conv is None:
            continue
        ones = conv.new_ones(conv.shape[1])
        renamed.state |= {
            f'{norm}.weight': ones,
            f'{norm}.bias': 0 * ones,
            f'{norm}.running_mean': 0 * ones,
            f'{norm}.running_var': ones - BN_EPS,
        }
        renamed.notes.append(f'{norm} is not in this file and is set to the identity')


def _add_counters(renamed: RenamedWeights) -> None:
    state = renamed.state
    if any(key.endswith('.num_batches_tracked') for key in state):
        return
    counters = [key.replace('running_mean', 'num_batches_tracked') for key in state if 'running_mean' in key]
    state |= {key: torch.zeros((), dtype=torch.int64) for key in counters}
    if counters:
        renamed.notes.append('num_batches_tracked is not in this file and is set to 0')
