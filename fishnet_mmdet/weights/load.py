"""From what a config says (`fishnet://NAME`, an address, a file) to weights in our own layout."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from torch import Tensor

from fishnet_mmdet.network.arch import FishNetArch, name_of
from fishnet_mmdet.weights import download, reading
from fishnet_mmdet.weights.catalogue import CATALOGUE
from fishnet_mmdet.weights.fitting import backbone_part, fit
from fishnet_mmdet.weights.key_naming import EXAMPLES, Layout, OwnWeights, infer_arch, recognise, to_own
from fishnet_mmdet.weights.reading import Take, WeightFile, WeightsError

SCHEME = 'fishnet://'


@dataclass
class Weights:
    """Weights in our own layout, with what is known of where they come from.

    Attributes:
        source: As it was asked for.
        file: What was read.
        layout: Of the file; None for keys that no FishNet has.
        own: The weights; for keys of no FishNet, as the file has them.
        arch: The network that they are of; None where the keys do not tell.
    """

    source: str
    file: WeightFile
    layout: Layout | None
    own: OwnWeights
    arch: FishNetArch | None

    @property
    def arch_name(self) -> str:
        """Such as 'fishnet150'; 'a layout of its own' for one that has no name."""
        return name_of(self.arch) or 'a layout of its own'

    @property
    def description(self) -> str:
        """Source, layout and network, as messages begin."""
        layout = 'no FishNet layout' if self.layout is None else f'{self.own.layout} layout'
        return f'{self.source} ({layout}, {self.arch_name if self.arch else "network unknown"})'

    def named(self, key: str) -> str:
        """The source's own name of one of our keys, where it has one."""
        if key in self.own.source_keys:
            return self.own.source_keys[key]
        theirs = self.layout.theirs(key) if self.layout else None
        return theirs or key


def load(source: str, take: Take | None = None, prefix: str | None = None) -> Weights:
    """Loads weights, whatever layout they are in.

    Args:
        source: `fishnet://NAME` with a name of the catalogue, `fishnet://PATH`, an https address, or the path of a file.
        take: As in `reading.read`.
        prefix: Use only the keys that begin so, without it (MMEngine's `prefix='backbone.'`).

    Raises:
        WeightsError: An unknown name, or a file that cannot be had or read.
    """
    file = reading.read(locate(source), take)
    state = file.state
    if prefix:
        state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if not state:
            raise WeightsError(f'{source}: no key begins with prefix={prefix!r}')
    layout = recognise(state)
    own = OwnWeights('', dict(state), {}, []) if layout is None else to_own(state, layout)
    known = CATALOGUE.get(source.removeprefix(SCHEME))
    if known and layout and layout.name != known.layout:
        own.notes.append(f'the {known.layout} layout was expected')
    arch = infer_arch({key: tuple(value.shape) for key, value in own.state.items()})
    return Weights(source, file, layout, own, arch)


def locate(source: str) -> Path:
    """The local path of a source, downloaded if it has an address.

    Raises:
        WeightsError: An unknown name or scheme, or a file that cannot be had.
    """
    name = source.removeprefix(SCHEME)
    if name in CATALOGUE:
        return download.obtain(CATALOGUE[name])
    if name.startswith(('https://', 'http://')):
        return download.obtain_url(name)
    if '://' in name:
        raise WeightsError(f'{source}: FishNet weights come by {SCHEME}NAME, by https://, or from a file')
    if not Path(name).exists() and not Path(name).suffix and '/' not in name:
        near = difflib.get_close_matches(name, CATALOGUE, n=1, cutoff=0.3)
        hint = f' Did you mean {SCHEME}{near[0]}?' if near else ''
        raise WeightsError(f'{source}: no weights of this name, and no such file.{hint} Names: {", ".join(CATALOGUE)}')
    return Path(name)


def load_backbone(source: str, target: Mapping[str, Tensor], prefix: str | None = None) -> dict[str, Tensor]:
    """Weights for a bare FishNet, every key of it; a summary goes to the log.

    Args:
        source: As in `load`.
        target: The network's `state_dict()`.
        prefix: As in `load`.

    Returns:
        The state dict to load.

    Raises:
        WeightsError: As `load`; or weights that are not of this network, with a table of what does not fit.
    """
    weights = load(source, prefix=prefix)
    _check_recognised(weights)
    state, left_out, unknown = backbone_part(weights.own.state)
    wanted = infer_arch({f'backbone.{key}': tuple(value.shape) for key, value in target.items()})
    network = name_of(wanted) or 'this FishNet'
    state = fit(
        state,
        target,
        f'{weights.description} does not fit {network}',
        named=lambda key: weights.named(f'backbone.{key}'),
        unexpected=(*weights.own.unexplained, *unknown),
    )
    print_log(summary_line(weights, len(state), left_out), logger='current')
    return state


def fit_model(weights: Weights, target: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """Weights for a whole model, every key of both.

    Args:
        weights: From `load`.
        target: The model's `state_dict()`.
        what: The model, for messages.

    Raises:
        WeightsError: With a table of what does not fit.
    """
    _check_recognised(weights)
    return fit(
        weights.own.state,
        target,
        f'{weights.description} does not fit {what}',
        named=weights.named,
        unexpected=tuple(weights.own.unexplained),
    )


def summary_line(weights: Weights, count: int, left_out: list[str]) -> str:
    """One line: source, layout, how many tensors, what was left out and filled in."""
    parts = [f'{weights.description}: {count} tensors loaded']
    if left_out:
        parts.append(f'left out: {", ".join(left_out)}')
    return '; '.join([*parts, *weights.file.notes, *weights.own.notes])


def _check_recognised(weights: Weights) -> None:
    if weights.layout is None:
        known = '\n'.join(f'  {name}: {example}' for name, example in EXAMPLES.items())
        seen = ', '.join(key[:60] for key in list(weights.file.state)[:3])
        raise WeightsError(
            f'{weights.source} holds no FishNet: its keys ({seen}, ...) are of no known layout. Known are:\n{known}'
        )


@CheckpointLoader.register_scheme(prefixes=SCHEME, force=True)
def load_from_fishnet(filename: str, map_location: Any = None) -> dict:
    """What MMEngine calls for `fishnet://...`: a checkpoint in our layout, keys of no FishNet untouched.

    Args:
        filename: `fishnet://NAME` or `fishnet://PATH`.
        map_location: Not used; weights come on the CPU.

    Raises:
        WeightsError: As `load`.
    """
    weights = load(filename)
    unexplained = {key: weights.file.state[key] for key in weights.own.unexplained}
    return {'meta': weights.file.meta, 'state_dict': weights.own.state | unexplained}
