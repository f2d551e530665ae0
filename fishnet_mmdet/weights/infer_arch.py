"""Infers the architecture of a FishNet from the names and shapes of its weights."""

import re
from collections.abc import Mapping

from fishnet_mmdet.network.arch import FishNetArch

Shape = tuple[int, ...]


def infer_arch(shapes: Mapping[str, Shape]) -> FishNetArch | None:
    """Infers an architecture from weights.

    Strides, the kinds of pooling and up-sampling, and dilation leave no trace in weights. They are taken as released.

    Args:
        shapes: Shape of each tensor, by our own keys.

    Returns:
        The architecture; None where the weights do not determine one.
    """

    def blocks(stage: str) -> int:
        found = (re.match(rf'backbone\.{stage}\.(\d+)\.', key) for key in shapes)
        # Count distinct indices: a key with a huge index must not lead to a huge network.
        return len({match[1] for match in found if match})

    def shape(layer: str) -> Shape:
        """(out, in, height, width) of a convolution; zeros where there is none."""
        found = shapes.get(f'backbone.{layer}.weight', ())
        return found if len(found) == 4 else (0, 0, 0, 0)

    def has(part: str) -> bool:
        return any(key.startswith(f'backbone.{part}.') for key in shapes)

    steps = range(3)
    inside, in_group, *_ = shape('tail.0.refine.0.conv.conv')
    is_fishnext = 0 < 2 * inside == shape('tail.0.refine.0.expand.conv')[0]
    try:
        return FishNetArch(
            tail=tuple(blocks(f'tail.{s}.refine') for s in steps),
            bridge=blocks('bridge.refine'),
            body=tuple(blocks(f'body.{s}.refine') for s in steps),
            body_transfer=tuple(blocks(f'body.{s}.transfer') for s in steps),
            head=tuple(blocks(f'head.{s}.refine') for s in steps),
            head_transfer=tuple(blocks(f'head.{s}.transfer') for s in steps),
            stem_width=shape('body.2.transfer.0.expand.conv')[0],
            tail_widths=tuple(shape(f'tail.{s}.refine.0.expand.conv')[0] for s in steps),
            body_widths=tuple(shape(f'body.{s}.refine.0.expand.conv')[0] for s in steps),
            stem='residual' if has('stem.1.squeeze') else 'conv3x3' if has('stem.1') else 'conv7x7',
            down='conv' if has('tail.0.down') else 'max2',
            attention='se' if has('bridge.attention') else 'none',
            levels='norm_relu' if has('levels') else 'sum',
            group_width=in_group if is_fishnext else 0,
        )
    except ValueError:
        return None
