"""Checks that pretrained weights can be found, read and fitted."""

import urllib.error
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
import torch.hub
from mmengine.model import PretrainedInit
from mmengine.runner import CheckpointLoader

from fishnet_mmdet.base.config_nodes import arguments_not_taken, mappings, name_of
from fishnet_mmdet.base.errors import UserError
from fishnet_mmdet.network.fishnet import FishNet
from fishnet_mmdet.preflight.findings import Finding
from fishnet_mmdet.weights.errors import ForeignObjects
from fishnet_mmdet.weights.load import address_of, load_backbone
from fishnet_mmdet.weights.reading import read_checkpoint

WEIGHTS_HELP = """\
To use weights of your own, in any known key naming:
  --cfg-options model.backbone.init_cfg.checkpoint=PATH
To train from random weights: live BN, nothing frozen, a norm in the neck. `fishnet-mmdet new` and `port` write
such a config with --from-scratch; mask_rcnn_fishnet150_fpn_scratch is an example."""


def check_pretrained(model: Mapping, download: bool = True) -> Iterator[Finding]:
    """Checks every pretrained file that the config of a model names.

    Args:
        model: The config.
        download: Whether to download files that have an address and are not in the cache. If not, they are not checked.
    """
    for node, init in _pretrained_modules(model):
        is_fishnet = name_of(node) == 'FishNet'
        if not download and _is_elsewhere(init['checkpoint'], is_fishnet):
            continue
        problem = _fishnet_problem(node, init) if is_fishnet else _other_problem(init['checkpoint'])
        if problem:
            yield Finding('weights', name_of(node), '', problem)


def lines_on_downloads(model: Mapping) -> list[str]:
    """A line for each pretrained file that a run may have to download."""
    return [
        f'weights: {init["checkpoint"]} is not checked; `train` loads it from the cache, or downloads it'
        for node, init in _pretrained_modules(model)
        if _is_elsewhere(init['checkpoint'], name_of(node) == 'FishNet')
    ]


def pretrained_files(model: Mapping) -> list[tuple[str, str]]:
    """Returns the type of each module of a model's config that loads a pretrained file, and the file."""
    return [(name_of(node), init['checkpoint']) for node, init in _pretrained_modules(model)]


def _pretrained_modules(model: Mapping) -> Iterator[tuple[Mapping, Mapping]]:
    """The configs of the modules that load a file, each with the `Pretrained` in its `init_cfg`."""
    for node in mappings(model):
        init = node.get('init_cfg') or []
        for one in [init] if isinstance(init, Mapping) else init:
            if one.get('type') in ('Pretrained', PretrainedInit):
                yield node, one
                break


def _is_elsewhere(checkpoint: str, is_fishnet: bool) -> bool:
    """Whether a file may have to be downloaded. MMEngine alone knows where it keeps those of other networks."""
    if not is_fishnet:
        return '://' in checkpoint
    address = address_of(checkpoint)
    return address is not None and not address[1].is_file()


def _fishnet_problem(backbone: Mapping, init: Mapping) -> str | None:
    """Why pretrained weights of a FishNet cannot be found or read, or do not fit it key by key; or None.

    Args:
        backbone: The config of the FishNet.
        init: The `Pretrained` in its `init_cfg`.
    """
    if arguments_not_taken(backbone, FishNet):
        # A finding about the settings.
        return None
    arguments = {key: value for key, value in backbone.items() if key not in ('type', 'init_cfg')}
    try:
        with torch.device('meta'):
            target = FishNet(**arguments).state_dict()
        load_backbone(init['checkpoint'], target, init.get('prefix'))
    except UserError as error:
        return f'pretrained weights: {error}\n{WEIGHTS_HELP}'
    return None


def _other_problem(checkpoint: str) -> str | None:
    """Why pretrained weights of another network cannot be found or read, or None."""
    if '://' not in checkpoint and not Path(checkpoint).is_file():
        return f'pretrained weights not found: {Path(checkpoint).resolve()} does not exist.\n{WEIGHTS_HELP}'
    try:
        if '://' in checkpoint:
            CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
        else:
            read_checkpoint(checkpoint)
    except ForeignObjects:
        # MMEngine may take the file all the same: with an older torch, or in OneDL's version.
        return None
    except (urllib.error.URLError, OSError) as error:
        cache = Path(torch.hub.get_dir()) / 'checkpoints'
        return (
            f'pretrained weights {checkpoint} cannot be downloaded: {error}.\nLoad them once on a machine with network '
            f'access and copy the file into {cache}; or name a local file:\n'
            '  --cfg-options model.backbone.init_cfg.checkpoint=PATH'
        )
    # torch and pickle raise a dozen types of exceptions for a file that is not a checkpoint.
    except Exception as error:
        return f'pretrained weights {checkpoint} cannot be read as a checkpoint: {error}\n{WEIGHTS_HELP}'
    return None
