"""Compares the channels that a neck of MMDetection expects with those that FishNet gives."""

from collections.abc import Iterator, Mapping
from contextlib import suppress

from mmengine.config import Config
from mmengine.registry import MODELS

from fishnet_mmdet.base.config_nodes import mappings, model_class, name_of
from fishnet_mmdet.network.arch import resolve_arch
from fishnet_mmdet.network.fishnet import FishNet
from fishnet_mmdet.preflight.findings import Finding

NECKS = {
    'ChannelMapper', 'CSPNeXtPAFPN', 'FPG', 'FPN', 'FPN_CARAFE', 'HRFPN', 'NASFCOS_FPN', 'NASFPN', 'PAFPN',
    'YOLOXPAFPN',
}  # fmt: skip
"""Those that take every level of the backbone, and list the channels of each in `in_channels`."""


def check_necks(cfg: Config) -> Iterator[Finding]:
    """Yields a finding for each neck whose `in_channels` are not the channels of the FishNet before it."""
    for node in mappings(cfg.get('model')):
        backbone, neck = node.get('backbone'), node.get('neck')
        # Of several necks, the first one takes what the backbone gives.
        neck = neck[0] if isinstance(neck, list | tuple) and neck else neck
        if not isinstance(backbone, Mapping) or not isinstance(neck, Mapping) or not _is_mmdets(neck):
            continue
        given, expected = _channels(backbone), neck.get('in_channels')
        if given and isinstance(expected, list | tuple) and list(expected) != given:
            text = f'{name_of(neck)}.in_channels = {list(expected)}, but FishNet gives {given}'
            yield Finding('setting-invalid', 'model', '', text, fix=f'set in_channels={given} in the neck')


def _is_mmdets(neck: Mapping) -> bool:
    """Whether it is one of `NECKS`, and not a class of the user's with the same name."""
    kind = neck.get('type')
    found = MODELS.get(f'mmdet.{name_of(neck)}') if isinstance(kind, str) and name_of(neck) in NECKS else kind
    return isinstance(found, type) and found.__name__ in NECKS and found.__module__.startswith('mmdet.')


def _channels(backbone: Mapping) -> list[int] | None:
    """The channels of the levels that a FishNet returns; None for another backbone, or where they are not known."""
    if model_class(backbone) is not FishNet:
        return None
    # The network itself says what is wrong with its arguments.
    with suppress(ValueError, TypeError, IndexError):
        widths = resolve_arch(backbone.get('arch', 'fishnet150')).out_channels
        return [widths[level] for level in backbone.get('out_indices', range(4))]
    return None
