"""Whether pretrained weights can be had, read and fitted."""

import urllib.error
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.hub
from mmengine.runner import CheckpointLoader

from fishnet_mmdet.network.fishnet import FishNet
from fishnet_mmdet.preflight.findings import PreflightError
from fishnet_mmdet.weights.load import load_backbone
from fishnet_mmdet.weights.reading import WeightsError

WEIGHTS_HELP = """\
Weights of your own, of any known layout? Name the file with
  --cfg-options model.backbone.init_cfg.checkpoint=PATH
No weights? Train from scratch with live BN: configs/mask_rcnn_fishnet150_fpn_scratch.py"""


def check_fishnet_weights(backbone: Mapping, init: Mapping) -> None:
    """Checks that pretrained weights of a FishNet can be had and fit it key by key; downloads those that have a name.

    Args:
        backbone: Config of the FishNet.
        init: The `Pretrained` of its `init_cfg`.

    Raises:
        PreflightError: Weights that cannot be had, read or fitted.
    """
    arguments = {key: value for key, value in backbone.items() if key not in ('type', 'init_cfg')}
    with torch.device('meta'):
        target = FishNet(**arguments).state_dict()
    try:
        load_backbone(init['checkpoint'], target, init.get('prefix'))
    except WeightsError as error:
        raise PreflightError(f'pretrained weights: {error}\n{WEIGHTS_HELP}') from error


def check_weights(checkpoint: str) -> None:
    """Checks that pretrained weights of another network can be read, and downloads those that have an address.

    Raises:
        PreflightError: No such file, no network, or not a checkpoint.
    """
    if '://' not in checkpoint and not Path(checkpoint).is_file():
        raise PreflightError(
            f'pretrained weights not found: {Path(checkpoint).resolve()} does not exist.\n{WEIGHTS_HELP}'
        )
    try:
        CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    except (urllib.error.URLError, OSError) as error:
        cache = Path(torch.hub.get_dir()) / 'checkpoints'
        raise PreflightError(
            f'pretrained weights {checkpoint} cannot be downloaded: {error}.\nOn a machine with a network, load them '
            f'once and copy the file into {cache}; or name a local file with\n'
            '  --cfg-options model.backbone.init_cfg.checkpoint=PATH'
        ) from error
    except Exception as error:  # torch and pickle raise a dozen kinds for a file that is no checkpoint
        raise PreflightError(
            f'pretrained weights {checkpoint} cannot be read as a checkpoint: {error}\n{WEIGHTS_HELP}'
        ) from error


def pretrained(node: Mapping) -> list[Mapping]:
    """The `Pretrained` of a module's config, as a list of at most one."""
    init = node.get('init_cfg') or []
    return [i for i in ([init] if isinstance(init, Mapping) else init) if i.get('type') == 'Pretrained'][:1]
