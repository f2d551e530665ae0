"""Autograd's graph of a network, and the most direct path between two features in it."""

import heapq
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from torch.autograd.graph import Node

from fishnet_mmdet.lab.figures.backbones import FigureError

FREE = {
    'Add': 'identity',
    'Cat': 'concatenation',
    'MaxPool2DWithIndices': 'max-pool',
    'ByteMaxPool': 'max-pool',
    'AvgPool2D': 'average pool',
    'Mean': 'average pool',
    'AdaptiveAvgPool2D': 'average pool',
    'UpsampleNearest2D': 'up-sampling',
    'UpsampleBilinear2D': 'up-sampling',
    'Sum': 'channel reduction',
    'ChannelSum': 'channel reduction',
    'Relu': 'ReLU',
}
"""Operations without a learnt weight, as autograd names them (torch's, and those of `ops`), and as the paper does."""

SILENT = {
    'View',
    'UnsafeView',
    'Unflatten',
    'Reshape',
    'Alias',
    'Clone',
    'Slice',
    'Expand',
    'Squeeze',
    'Unsqueeze',
}
"""Operations that only look at the same numbers in another shape."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """The most direct path between two features.

    Attributes:
        free: How many operations of each kind without a weight are on it.
        i_convs: Convolutions on it round which a residual branch goes.
        plain: Convolutions on it that nothing goes round.
        others: Other weighted operations on it, such as norms.
    """

    free: Counter[str]
    i_convs: tuple[str, ...]
    plain: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def is_free(self) -> bool:
        """Whether no weight is on it."""
        return not (self.i_convs or self.plain or self.others)


class Graph:
    """Autograd's graph, from the output back to the image, and the paths in it."""

    def __init__(self, net: nn.Module) -> None:
        self.names = {id(p): name.rsplit('.', 1)[0] for name, p in net.named_parameters()}

    def route(self, start: Node, end: Node, stage: str) -> Route:
        """Sorts what lies on the most direct path.

        Args:
            start: Where the path begins, on the output's side.
            end: Where it ends, on the image's side.
            stage: Name for an error.

        Raises:
            FigureError: There is no path.
        """
        path = self.path(start, end)
        if path is None:
            raise FigureError(f'{stage}: no path leads from its end back to its beginning')
        free: Counter[str] = Counter()
        i_convs, plain, others = [], [], []
        for node, after in zip(path, [*path[1:], None], strict=False):
            if _operation(node) == 'Convolution':
                bypassed = self.path(start, end, avoid=node) is not None
                (i_convs if bypassed else plain).append(self.module(node))
            elif _weight(node):
                others.append(self.module(node))
            elif not _is_plain_addition(node, after):
                continue
            elif _operation(node) in FREE:
                free[FREE[_operation(node)]] += 1
        return Route(free=free, i_convs=tuple(i_convs), plain=tuple(plain), others=tuple(others))

    def path(self, start: Node, end: Node, avoid: Node | None = None) -> list[Node] | None:
        """The most direct path, without its end; None where there is none (Dijkstra's algorithm)."""
        count = 0  # breaks ties, for nodes have no order
        queue = [(_cost(start) if start is not end else (0, 0, 0), count, start, None)]
        previous: dict[Node, Node | None] = {}
        while queue:
            cost, _, node, before = heapq.heappop(queue)
            if node in previous or node is avoid:
                continue
            previous[node] = before
            if node is end:
                return list(_backwards(previous, before))[::-1]
            for following, _ in node.next_functions:
                if following is not None and following not in previous:
                    count += 1
                    step = (0, 0, 0) if following is end else _cost(following)
                    total = tuple(a + b for a, b in zip(cost, step, strict=True))
                    heapq.heappush(queue, (total, count, following, node))
        return None

    def module(self, node: Node) -> str:
        """Where the weights of an operation lie; an operation between features, such as a product, has none."""
        for following, _ in node.next_functions:
            variable = getattr(following, 'variable', None)
            if variable is not None and id(variable) in self.names:
                return self.names[id(variable)]
        return {'Mul': 'product'}.get(_operation(node), _operation(node).lower())


def _backwards(previous: dict[Node, Node | None], node: Node | None) -> Iterator[Node]:
    while node is not None:
        yield node
        node = previous[node]


def _operation(node: Node) -> str:
    return re.sub(r'Backward\d*$', '', node.name().split('::')[-1])


def _weight(node: Node) -> bool:
    return _operation(node) not in FREE and _operation(node) not in SILENT


def _cost(node: Node) -> tuple[int, int, int]:
    """Convolutions, then other weights, then steps."""
    return int(_operation(node) == 'Convolution'), int(_weight(node)), 1


def _is_plain_addition(node: Node, after: Node | None) -> bool:
    """False for an addition whose shortcut is a channel reduction or has weights: that is counted there."""
    if _operation(node) != 'Add' or after is None:
        return True
    return not _weight(after) and FREE.get(_operation(after)) != 'channel reduction'
