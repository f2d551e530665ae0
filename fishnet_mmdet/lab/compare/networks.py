"""The backbones of an experiment, on the meta device to see their channels and to count them."""

import copy
from collections.abc import Mapping

import torch
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope

from fishnet_mmdet.lab.counting import Counts, count


def build_on_meta(spec: Mapping) -> torch.nn.Module:
    """Builds a backbone on the meta device, in eval mode.

    Args:
        spec: The backbone's config. A type without a scope is mmdet's, or FishNet.
    """
    with DefaultScope.overwrite_default_scope('mmdet'):
        try:
            with torch.device('meta'):
                network = MODELS.build(copy.deepcopy(dict(spec)))
        except RuntimeError:
            # mmpretrain's ResNet reads numbers out of a tensor, which the meta device does not have.
            network = MODELS.build(copy.deepcopy(dict(spec))).to('meta')
    network.eval()  # mmdet's ResNet returns nothing here
    return network


def level_channels(spec: Mapping) -> list[int]:
    """Channels of the levels that a backbone returns, from a forward pass."""
    network = build_on_meta(spec)
    with torch.no_grad():
        return [level.shape[1] for level in network(torch.zeros(1, 3, 64, 64, device='meta'))]


def count_backbone(spec: Mapping, side: int) -> Counts:
    """Parameters and multiply-adds of a backbone.

    Args:
        spec: The backbone's config.
        side: Side of the square image in pixels.
    """
    return count(build_on_meta(spec), side)
