"""Necks and heads that take the levels of the backbone: their channels."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.project.port.edits import Edit
from fishnet_mmdet.project.port.resnets import KeyPath, ResNet, dotted

WHY = 'channels of the levels of FishNet'


@dataclass(frozen=True)
class Levels:
    """The levels that FishNet returns in place of those of the ResNet.

    Attributes:
        resnet: The ResNet.
        out_indices: Levels that FishNet returns.
        channels: Their channels.
    """

    resnet: ResNet
    out_indices: tuple[int, ...]
    channels: tuple[int, ...]

    @property
    def old(self) -> tuple[int, ...]:
        """Channels of the levels that the ResNet returned."""
        return tuple(self.resnet.channels[i] for i in self.resnet.out_indices)

    def translate(self, value: Any, index: Any = None) -> Any:
        """The value of `in_channels` for FishNet, or None if this is not the width of a level of the ResNet."""
        if isinstance(value, int):
            if isinstance(index, int) and self.old[index] == value:
                return self.channels[index]
            return self.channels[self.old.index(value)] if value in self.old else None
        if isinstance(value, Sequence) and value and all(isinstance(v, int) for v in value):
            new = [self.translate(v) for v in value]
            return None if None in new else new
        return None


def channel_edits(levels: Levels) -> Iterator[Edit]:
    """Changes of all that takes the levels: the neck, or the heads where there is none.

    Raises:
        ConfigError: Nothing takes them, as far as can be seen.
    """
    where, parent = levels.resnet.path[:-1], levels.resnet.parent
    neck, place = parent.get('neck'), (*where, 'neck')
    if isinstance(neck, Sequence):
        neck, place = neck[0], (*place, 0)
    if neck and 'in_channels' in neck:
        if (new := levels.translate(neck['in_channels'])) is None:
            raise ConfigError(
                f'{dotted(place)}.in_channels = {neck["in_channels"]} is not what the {levels.resnet.name} gives '
                f'({list(levels.old)}): this config cannot be ported by channels alone'
            )
        yield Edit((*place, 'in_channels'), new, WHY)
        return
    if (parent.get('roi_head') or {}).get('shared_head') and not neck and len(levels.channels) == 1:
        yield from _as_wide_as_before(levels, place)
        return
    edits = list(_classifier(levels, where) if 'head' in parent else _heads(levels, parent, where))
    if not edits:
        raise ConfigError(
            f'nothing in {dotted(where)} takes the channels {list(levels.old)} of the {levels.resnet.name}: neither '
            '`neck.in_channels` nor the `in_channels` of a head'
        )
    yield from edits


def _as_wide_as_before(levels: Levels, place: KeyPath) -> Iterator[Edit]:
    """A convolution to the channels of the ResNet: its last stage, the head of each box (C4), takes no others."""
    yield Edit(
        (*place, 'type'), 'ChannelMapper', 'the shared head is a stage of a ResNet, which takes its channels only'
    )
    yield Edit((*place, 'in_channels'), list(levels.channels))
    yield Edit((*place, 'out_channels'), levels.old[0])
    yield Edit((*place, 'kernel_size'), 1)


def _classifier(levels: Levels, where: KeyPath) -> Iterator[Edit]:
    """A classifier: pooling has no channels, so the linear layer takes those of the last level."""
    parent, last = levels.resnet.parent, levels.channels[-1]
    neck = parent.get('neck') or {}
    if parent['head'].get('in_channels') != levels.old[-1]:
        return
    if neck.get('type', '').rpartition('.')[2] == 'GlobalAveragePooling':
        # The levels are sums without a norm behind them.
        yield Edit(
            (*where, 'neck'),
            dict(type='FishNetNeck', in_channels=last),
            "FishNet's own norm, 1x1 convolution and pooling",
        )
        last //= 2
    yield Edit((*where, 'head', 'in_channels'), last, 'channels behind the neck')


def _heads(levels: Levels, node: Mapping, path: KeyPath) -> Iterator[Edit]:
    """Heads beside the backbone, and those in a RoI head."""
    for key, value in node.items():
        if not (key.endswith('head') or key.endswith('roi_extractor')) or key.startswith('teacher'):
            continue
        parts = list(enumerate(value)) if isinstance(value, Sequence) else [(None, value)]
        for index, part in parts:
            place = (*path, key) if index is None else (*path, key, index)
            if not isinstance(part, Mapping):
                continue
            if key == 'roi_head':
                yield from _heads(levels, part, place)
            if index and _is_ocr(part, before := parts[index - 1][1]):
                yield from _ocr(levels, part, before, place)
                continue
            names = ['out_channels'] if key.endswith('roi_extractor') else _inputs(part)
            for name in names:
                at = part.get('in_index') if name == 'in_channels' else None
                if (new := levels.translate(part.get(name), at)) is not None:
                    yield Edit((*place, name), new, WHY)


def _is_ocr(head: Mapping, before: Any) -> bool:
    levels = [node.get('in_index', -1) for node in (before, head)]
    kind = str(head.get('type')).rpartition('.')[2]
    return kind == 'OCRHead' and all(isinstance(i, int) for i in levels) and levels[0] != levels[1]


def _ocr(levels: Levels, head: Mapping, before: Mapping, place: KeyPath) -> Iterator[Edit]:
    """OCR pools its level by the map of the head before it, so that both must have one size, as in a dilated ResNet."""
    both = [before['in_index'], head['in_index']]
    yield Edit((*place, 'in_index'), both, 'OCR takes its level at the size of the level of the head before it')
    yield Edit((*place, 'in_channels'), [levels.channels[i] for i in both], WHY)
    yield Edit((*place, 'input_transform'), 'resize_concat')


def _inputs(head: Mapping) -> list[str]:
    return [name for name in head if name == 'in_channels' or name.endswith('_in_channels')]
