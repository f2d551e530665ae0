"""Any FishNet weight file -> one in our own layout, which every config and MMEngine itself can load."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from fishnet_mmdet.network.arch import ARCHS, FishNetArch, name_of
from fishnet_mmdet.network.classifier import FishNetClassifier
from fishnet_mmdet.weights import reading
from fishnet_mmdet.weights.catalogue import CATALOGUE
from fishnet_mmdet.weights.fitting import backbone_part
from fishnet_mmdet.weights.key_naming import CLASSIFIER_LAYERS
from fishnet_mmdet.weights.load import SCHEME, Weights, fit_model, load, summary_line
from fishnet_mmdet.weights.reading import Take, WeightsError


def convert(
    source: str,
    target: Path | str,
    take: Take | None = None,
    hash_in_name: bool = False,
    overwrite: bool = False,
) -> tuple[Path, str]:
    """Writes weights in our own layout, after every key and shape was accounted for.

    A classifier is written whole (`backbone.*`, `neck.*`, `head.fc.*`), of a detector the backbone alone.

    Args:
        source: As in `fishnet_mmdet.weights.load.load`.
        target: The file to write, `.safetensors` or `.pth`. Its metadata name architecture, source and licence.
        take: As in `load`.
        hash_in_name: Whether to put the first eight digits of the file's SHA-256 before its ending.
        overwrite: Whether an existing file may be replaced.

    Returns:
        The file that was written, and a line that sums it up.

    Raises:
        WeightsError: A source that cannot be had, read or fitted; a target that cannot be written. Nothing is left.
    """
    target = Path(target)
    _check_target(target, overwrite)
    weights = load(source, take)
    state, left_out = accounted(weights)
    classes = state['head.fc.weight'].shape[0] if 'head.fc.weight' in state else 0
    meta = {
        'architecture': json.dumps({'name': weights.arch_name, 'classes': classes, **asdict(weights.arch)}),
        'layout_of_source': weights.own.layout,
        'source': source,
        'source_sha256': weights.file.sha256,
        'licence': _licence(source),
    }
    reading.write(state, meta, target)
    if hash_in_name:
        named = target.with_name(f'{target.stem}-{reading.file_hash(target)[:8]}{target.suffix}')
        target = target.replace(named)
    return target, summary_line(weights, len(state), left_out)


def accounted(weights: Weights) -> tuple[dict[str, Tensor], list[str]]:
    """The part of some weights that a network of ours holds, every key of it, and what is left out by name.

    Raises:
        WeightsError: With a table of what is missing, unexpected or mis-shaped.
    """
    backbone, left_out, unknown = backbone_part(weights.own.state)
    is_detector = not set(left_out) <= set(CLASSIFIER_LAYERS)
    if is_detector:
        weights.own.state = {f'backbone.{key}': value for key, value in backbone.items()}
        weights.own.unexplained += unknown
    state = weights.own.state
    candidates = ([weights.arch] if weights.arch else []) + list(ARCHS.values())
    arch = max(candidates, key=lambda arch: _matches(state, _target(arch, state)))
    fitted = fit_model(weights, _target(arch, state), name_of(arch) or 'the network it seems to be')
    weights.arch = arch
    return fitted, left_out if is_detector else []


def _target(arch: FishNetArch, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a network of this layout would hold, on the meta device, with as many classes as the weights have."""
    last = state.get('head.fc.weight')
    stem = state.get('backbone.stem.0.conv.weight')
    is_bn = any(key.endswith('running_mean') for key in state)
    with torch.device('meta'):
        net = FishNetClassifier(
            arch,
            num_classes=1000 if last is None else last.shape[0],
            in_channels=3 if stem is None or stem.dim() != 4 else stem.shape[1],
            norm_cfg=dict(type='BN') if is_bn else dict(type='GN', num_groups=1),  # of any groups: same keys
        )
    backbone_only = not any(key.startswith(CLASSIFIER_LAYERS) for key in state)
    return {k: v for k, v in net.state_dict().items() if k.startswith('backbone.') or not backbone_only}


def _matches(state: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> int:
    """How many more keys fit than do not."""
    fitting = sum(key in state and state[key].shape == value.shape for key, value in target.items())
    return 2 * fitting - len(target.keys() | state.keys())


def _check_target(target: Path, overwrite: bool) -> None:
    if target.suffix not in reading.ENDINGS:
        raise WeightsError(f'{target}: the file to write must end in {" or ".join(reading.ENDINGS)}')
    if target.exists() and not overwrite:
        raise WeightsError(f'{target} is there already: name another file, or say --overwrite')
    if not target.resolve().parent.is_dir():
        raise WeightsError(f'{target}: the folder {target.resolve().parent} does not exist')


def _licence(source: str) -> str:
    known = CATALOGUE.get(source.removeprefix(SCHEME))
    return f'weights of {known.origin}' if known else 'that of the source, which is not known here'
