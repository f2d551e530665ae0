"""Converts FishNet weights of any known key naming to a file in our own, which configs and MMEngine load."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from fishnet_mmdet.base.hashes import file_hash
from fishnet_mmdet.network.arch import ARCHS, FishNetArch, name_of
from fishnet_mmdet.network.classifier import FishNetClassifier
from fishnet_mmdet.network.fishnet import FishNet
from fishnet_mmdet.weights.catalogue import CATALOGUE, SCHEME
from fishnet_mmdet.weights.errors import WeightsError
from fishnet_mmdet.weights.fitting import backbone_part
from fishnet_mmdet.weights.key_naming import CLASSIFIER_LAYERS
from fishnet_mmdet.weights.load import Weights, fit_model, load, summary_line
from fishnet_mmdet.weights.notes import class_names
from fishnet_mmdet.weights.reading import Take
from fishnet_mmdet.weights.shipped import SHIPPED
from fishnet_mmdet.weights.writing import ENDINGS, write


def convert_weights(
    source: str,
    target: Path | str,
    *,
    take: Take | None = None,
    whole: bool = False,
    half: bool = False,
    licence: str | None = None,
    hash_in_name: bool = False,
    overwrite: bool = False,
) -> tuple[Path, str]:
    """Writes weights in our own key naming, after checking every key and shape.

    A classifier is written whole (`backbone.*`, `neck.*`, `head.fc.*`), of a detector only the backbone, unless `whole`
    is set.

    Args:
        source: As in `weights.load.load`.
        target: The file to write, `.safetensors` or `.pth`. Its metadata name the architecture, source and licence.
        take: As in `load`.
        whole: Whether to write neck and heads of a detector too. They are not compared with a config.
        half: Whether to write float16, half of the size. Networks compute in their own number format all the same.
        licence: Licence of the weights, for the metadata; by default that of the source, if it is known.
        hash_in_name: Whether to put the first eight digits of the file's SHA-256 before its ending.
        overwrite: Whether an existing file may be replaced.

    Returns:
        The file that was written, and a summary in one line.

    Raises:
        WeightsError: The source cannot be found, downloaded, read or fitted, or the target cannot be written. No file
            is written then.
    """
    target = Path(target)
    _check_target(target, overwrite)
    weights, state, left_out = _fit_to_arch(load(source, take), whole)
    if half:
        state = {key: _as_half(value, f'{source}: {key}') for key, value in state.items()}
    classes = state['head.fc.weight'].shape[0] if 'head.fc.weight' in state else 0
    meta = {
        'architecture': json.dumps({'name': weights.arch_name, 'classes': classes, **asdict(weights.arch)}),
        'key_naming_of_source': weights.naming.name,
        'source': source,
        'source_sha256': weights.file.sha256,
        'licence': licence or _licence(source),
    }
    if whole and (names := class_names(weights.file.meta)):
        meta['dataset_meta'] = {'classes': names}
    try:
        write(state, meta, target)
        if hash_in_name:
            target = target.replace(target.with_name(f'{target.stem}-{file_hash(target)[:8]}{target.suffix}'))
    except OSError as error:
        raise WeightsError(f'{target} cannot be written: {error.strerror}') from error
    return target, summary_line(weights, len(state), left_out) + ('; written as float16' if half else '')


def _as_half(value: Tensor, name: str) -> Tensor:
    if not value.is_floating_point():
        return value
    half = value.half()
    if not bool(torch.isfinite(half).all()):
        raise WeightsError(f'{name} has values beyond 65,504, which float16 does not hold: convert without --half')
    return half


def _fit_to_arch(weights: Weights, whole: bool) -> tuple[Weights, dict[str, Tensor], list[str]]:
    """Fits weights to the architecture that most of their keys fit.

    Args:
        weights: The weights.
        whole: Whether to keep the other parts of a detector.

    Returns:
        The weights with this architecture; the state dict to write; the names of a detector's parts that are left out.

    Raises:
        WeightsError: Some keys do not fit; the message has a table of them.
    """
    everything = weights.renamed.state
    backbone, left_out, unknown = backbone_part(everything)
    is_detector = not set(left_out) <= set(CLASSIFIER_LAYERS)
    if is_detector:
        unknown = [] if whole else unknown
        state = {f'backbone.{key}': value for key, value in backbone.items()}
        renamed = replace(weights.renamed, state=state, unexplained=[*weights.renamed.unexplained, *unknown])
        weights = replace(weights, renamed=renamed)
    state = weights.renamed.state
    arch, target = _closest_arch(weights.arch, state)
    fitted = fit_model(weights, target, name_of(arch) or 'the architecture that these weights suggest')
    if is_detector and whole:
        fitted |= {key: value for key, value in everything.items() if key not in fitted}
    return replace(weights, arch=arch), fitted, left_out if is_detector and not whole else []


def _closest_arch(inferred: FishNetArch | None, state: Mapping[str, Tensor]) -> tuple[FishNetArch, dict[str, Tensor]]:
    """Finds the architecture that most keys fit, the inferred one or a named one, and its state dict."""
    closest = None
    for arch in ([inferred] if inferred else []) + list(ARCHS.values()):
        target = _target(arch, state)
        fitting = sum(key in state and state[key].shape == value.shape for key, value in target.items())
        misfits = len(target.keys() | state.keys()) - fitting
        if closest is None or fitting - misfits > closest[0]:
            closest = fitting - misfits, arch, target
        if not misfits:
            break
    return closest[1:]


def _target(arch: FishNetArch, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a network, on the meta device, with as many classes as the weights have."""
    last = state.get('head.fc.weight')
    stem = state.get('backbone.stem.0.conv.weight')
    is_bn = any(key.endswith('running_mean') for key in state)
    of_the_source = dict(
        in_channels=3 if stem is None or stem.dim() != 4 else stem.shape[1],
        # The keys of GroupNorm do not depend on the number of groups.
        norm_cfg=dict(type='BN') if is_bn else dict(type='GN', num_groups=1),
    )
    with torch.device('meta'):
        if any(key.startswith(CLASSIFIER_LAYERS) for key in state):
            classes = 1000 if last is None else last.shape[0]
            return FishNetClassifier(arch, num_classes=classes, **of_the_source).state_dict()
        net = FishNet(arch, out_indices=_levels_with_norms(arch, state), **of_the_source)
    return {f'backbone.{key}': value for key, value in net.state_dict().items()}


def _levels_with_norms(arch: FishNetArch, state: Mapping[str, Tensor]) -> tuple[int, ...]:
    """The levels whose norms are among the weights, by their widths; the last one if there are none."""
    widths = {value.numel() for key, value in state.items() if re.fullmatch(r'backbone\.levels\.\d+\.weight', key)}
    return tuple(level for level, width in enumerate(arch.out_channels) if width in widths) or (3,)


def _check_target(target: Path, overwrite: bool) -> None:
    if target.suffix not in ENDINGS:
        raise WeightsError(f'{target}: the file to write must end in {" or ".join(ENDINGS)}')
    if target.exists() and not overwrite:
        raise WeightsError(f'{target} exists already: name another file, or add --overwrite')
    if not target.resolve().parent.is_dir():
        raise WeightsError(f'{target}: the folder {target.resolve().parent} does not exist')


def _licence(source: str) -> str:
    name = source.removeprefix(SCHEME)
    known = CATALOGUE.get(name) or SHIPPED.get(name)
    return f'weights of {known.origin}' if known else 'unknown: that of the source'
