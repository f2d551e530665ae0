"""How FishNet weights name their keys, and the translation of keys between two namings.

The naming of this project is that of an mmpretrain classifier: `backbone.*` (the keys of `FishNet`), `neck.*`,
`head.fc.*`. In every naming, a tensor's key is the path of its layer and the name of the tensor (weight, bias,
running_mean, ...). A `KeyNaming` maps each path to ours. Bottlenecks are many, so they are given by the path of their
stage and the paths within one bottleneck.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

CLASSIFIER_LAYERS = ('neck.squeeze.norm', 'neck.squeeze.conv', 'neck.norm', 'head.fc')
"""Layers of the classifier that are not part of the backbone. A detector leaves them out."""

DETECTOR_HEADS = frozenset(
    'rpn_head roi_head bbox_head mask_head mask_feature_head semantic_head panoptic_head panoptic_fusion_head '
    'decode_head auxiliary_head encoder decoder query_embedding query_generator dn_query_generator level_embed '
    'reference_points_fc memory_trans_fc memory_trans_norm'.split()
)
"""First words of the keys that only mmdet's detectors and mmsegmentation's segmentors have."""

OWN_BOTTLENECK = re.compile(r'(?P<stage>backbone\..+?\.(?:refine|transfer))\.(?P<index>\d+)\.(?P<layer>.+)')

BARE_BACKBONE = re.compile(r'(stem|tail|bridge|body|head|levels)\.(\d|squeeze|expand|refine|attention)')


@dataclass(frozen=True, kw_only=True)
class KeyNaming:
    """One naming of the layers of a FishNet classifier. "Own" means the naming of this project.

    Attributes:
        name: Name for messages.
        block: Text before the index of a bottleneck within its stage.
        first: Index of a stage's first bottleneck.
        stages: Path of a stage's bottlenecks -> own path.
        inside: Path within a bottleneck -> own path.
        layers: Path of every other layer -> own path.
        identity_norms: Own paths of norms that the network of this naming does without; see `renaming.rename`.
    """

    name: str
    block: str
    first: int
    stages: Mapping[str, str]
    inside: Mapping[str, str]
    layers: Mapping[str, str]
    identity_norms: tuple[str, ...] = ()

    def to_own(self, key: str) -> str | None:
        """Translates a key of this naming to our own; None if this naming has no such key."""
        path, _, tensor = key.rpartition('.')
        if path in self.layers:
            return f'{self.layers[path]}.{tensor}'
        for stage, own_stage in self.stages.items():
            match = re.fullmatch(rf'{re.escape(stage)}\.{self.block}(\d{{1,4}})\.(.+)', path)
            if match and match[2] in self.inside and int(match[1]) >= self.first:
                return f'{own_stage}.{int(match[1]) - self.first}.{self.inside[match[2]]}.{tensor}'
        return None

    def from_own(self, key: str) -> str | None:
        """Translates one of our own keys to this naming; None if this naming has no such key."""
        path, _, tensor = key.rpartition('.')
        for layer, own_layer in self.layers.items():
            if own_layer == path:
                return f'{layer}.{tensor}'
        if match := OWN_BOTTLENECK.fullmatch(path):
            stage = next((stage for stage, own in self.stages.items() if own == match['stage']), None)
            layer = next((layer for layer, own in self.inside.items() if own == match['layer']), None)
            if stage and layer:
                return f'{stage}.{self.block}{int(match["index"]) + self.first}.{layer}.{tensor}'
        return None


class OwnKeyNaming(KeyNaming):
    """The naming of this project. A file of a backbone alone may lack the prefix `backbone.`."""

    def to_own(self, key: str) -> str:
        """Returns the key, with the prefix `backbone.` added where a backbone's key lacks it."""
        return f'backbone.{key}' if BARE_BACKBONE.match(key) else key

    def from_own(self, key: str) -> str:
        """Returns the key unchanged."""
        return key
