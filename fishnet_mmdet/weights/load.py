"""Loads FishNet weights from a name (`fishnet://NAME`), an https address or a file, in our own key naming."""

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
from fishnet_mmdet.weights.catalogue import CATALOGUE, SCHEME
from fishnet_mmdet.weights.errors import WeightsError
from fishnet_mmdet.weights.fitting import backbone_part, fit
from fishnet_mmdet.weights.infer_arch import infer_arch
from fishnet_mmdet.weights.key_naming import KeyNaming
from fishnet_mmdet.weights.namings import EXAMPLES, recognise_naming
from fishnet_mmdet.weights.reading import Take, WeightFile
from fishnet_mmdet.weights.renaming import RenamedWeights, rename
from fishnet_mmdet.weights.shipped import SHIPPED

WEB = ('https://', 'http://')


@dataclass(frozen=True)
class Weights:
    """Weights in our own key naming, and where they come from.

    Attributes:
        source: The source as the caller named it.
        file: The file that was read.
        naming: Key naming of the file; None if it is unknown.
        renamed: The weights in our own key naming; in an unknown naming, as in the file.
        arch: Architecture of the network; None if the weights do not determine it.
    """

    source: str
    file: WeightFile
    naming: KeyNaming | None
    renamed: RenamedWeights
    arch: FishNetArch | None

    @property
    def arch_name(self) -> str:
        """Name of the architecture, such as 'fishnet150'."""
        return name_of(self.arch) or 'custom architecture'

    @property
    def description(self) -> str:
        """Source, key naming and architecture: the beginning of messages."""
        naming = self.naming.name if self.naming else 'unknown'
        arch = self.arch_name if self.arch else 'unknown architecture'
        return f'{self.source} ({naming} key naming, {arch})'

    def source_key(self, key: str) -> str:
        """The source's own key for one of our keys; our key if it has none."""
        if key in self.renamed.source_keys:
            return self.renamed.source_keys[key]
        return (self.naming and self.naming.from_own(key)) or key


def load(source: str, take: Take | None = None, prefix: str | None = None) -> Weights:
    """Loads weights of any known key naming.

    Args:
        source: `fishnet://NAME` with a name of the catalogue or of a detector that ships, `fishnet://PATH`, an https
            address, or the path of a file.
        take: As in `reading.read`.
        prefix: Load only the keys that begin with this prefix, and remove it (as MMEngine's `prefix='backbone.'`).

    Raises:
        WeightsError: The name is unknown, or the file cannot be found, downloaded or read.
    """
    file = reading.read(locate(source), take)
    state = file.state
    if prefix:
        state = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if not state:
            raise WeightsError(f'{source}: no key begins with prefix={prefix!r}')
    naming = recognise_naming(state)
    renamed = rename(state, naming) if naming else RenamedWeights(dict(state))
    known = CATALOGUE.get(source.removeprefix(SCHEME))
    if known and naming and naming.name != known.naming:
        renamed.notes.append(f'{known.naming} key naming was expected')
    arch = infer_arch({key: tuple(value.shape) for key, value in renamed.state.items()})
    return Weights(source, file, naming, renamed, arch)


def locate(source: str) -> Path:
    """Finds the local file of a source, and downloads it if the source is a name or an address.

    Raises:
        WeightsError: The name or the scheme is unknown, or the file cannot be found or downloaded.
    """
    name = source.removeprefix(SCHEME)
    if name in SHIPPED:
        return SHIPPED[name].path
    if name in CATALOGUE:
        return download.obtain(CATALOGUE[name])
    if name.startswith(WEB):
        return download.obtain_url(name)
    if '://' in name:
        raise WeightsError(f'{source}: unknown scheme. FishNet weights come from {SCHEME}NAME, https:// or a file')
    if not Path(name).exists() and not Path(name).suffix and '/' not in name:
        names = [*SHIPPED, *CATALOGUE]
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.3)
        hint = f' Did you mean {SCHEME}{near[0]}?' if near else ''
        raise WeightsError(f'{source}: no weights of this name, and no such file.{hint} Names: {", ".join(names)}')
    return Path(name)


def for_mmengine(checkpoint: str) -> str:
    """The address by which MMEngine loads a checkpoint through this package, which unpickles nothing.

    MMEngine itself unpickles what it downloads. Addresses of schemes that only MMEngine knows, such as
    `torchvision://`, stay as they are.

    Args:
        checkpoint: A file, an https address, `fishnet://NAME`, or an address of another scheme.
    """
    return f'{SCHEME}{checkpoint}' if '://' not in checkpoint or checkpoint.startswith(WEB) else checkpoint


def address_of(source: str) -> tuple[str, Path] | None:
    """The address from which `load` downloads a source, and where it keeps the file; None if it downloads nothing."""
    name = source.removeprefix(SCHEME)
    if name in CATALOGUE:
        return CATALOGUE[name].urls[0], download.cache_folder() / CATALOGUE[name].file
    if name.startswith(WEB):
        return name, download.path_of_url(name)
    return None


def load_backbone(source: str, target: Mapping[str, Tensor], prefix: str | None = None) -> dict[str, Tensor]:
    """Loads weights for a FishNet backbone, every key of it, and logs a summary.

    Args:
        source: As in `load`.
        target: The backbone's `state_dict()`.
        prefix: As in `load`.

    Returns:
        The state dict for the backbone.

    Raises:
        WeightsError: As `load`, or the weights do not fit; the message has a table of the keys that do not.
    """
    weights = load(source, prefix=prefix)
    _check_recognised(weights)
    state, left_out, unknown = backbone_part(weights.renamed.state)
    wanted = infer_arch({f'backbone.{key}': tuple(value.shape) for key, value in target.items()})
    network = name_of(wanted) or 'this FishNet'
    state = fit(
        state,
        target,
        f'{weights.description} does not fit {network}',
        named=lambda key: weights.source_key(f'backbone.{key}'),
        unexpected=(*weights.renamed.unexplained, *unknown),
    )
    print_log(summary_line(weights, len(state), left_out), logger='current')
    return state


def fit_model(weights: Weights, target: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """Fits weights to a whole model, every key of both.

    Args:
        weights: The weights, from `load`.
        target: The model's `state_dict()`.
        what: Name of the model, for messages.

    Returns:
        The state dict for the model.

    Raises:
        WeightsError: The weights do not fit; the message has a table of the keys that do not.
    """
    _check_recognised(weights)
    return fit(
        weights.renamed.state,
        target,
        f'{weights.description} does not fit {what}',
        named=weights.source_key,
        unexpected=tuple(weights.renamed.unexplained),
    )


def summary_line(weights: Weights, count: int, left_out: list[str]) -> str:
    """Summarizes in one line: source, key naming, architecture, number of tensors, what was left out or added."""
    parts = [f'{weights.description}: {count} tensors loaded']
    if left_out:
        parts.append(f'left out: {", ".join(left_out)}')
    return '; '.join([*parts, *weights.file.notes, *weights.renamed.notes])


def _check_recognised(weights: Weights) -> None:
    if weights.naming is None:
        known = '\n'.join(f'  {name}: {example}' for name, example in EXAMPLES.items())
        seen = ', '.join(key[:60] for key in list(weights.file.state)[:3])
        raise WeightsError(
            f'{weights.source} does not hold FishNet weights: its keys ({seen}, ...) match no known key naming. '
            f'Known namings, with examples of their keys:\n{known}'
        )


@CheckpointLoader.register_scheme(prefixes=SCHEME, force=True)
def load_from_fishnet(filename: str, map_location: Any = None) -> dict:
    """Loads a checkpoint for MMEngine, in our own key naming. Keys of an unknown naming are unchanged.

    Args:
        filename: `fishnet://NAME` or `fishnet://PATH`.
        map_location: Not used. Tensors are on the CPU.

    Raises:
        WeightsError: As `load`.
    """
    weights = load(filename)
    unexplained = {key: weights.file.state[key] for key in weights.renamed.unexplained}
    return {'meta': weights.file.meta, 'state_dict': weights.renamed.state | unexplained}
