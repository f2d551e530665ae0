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
"""Operations without a learnt weight: autograd's names (of torch's operations and those of `ops/`), and the paper's."""

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
"""Operations that return the same numbers in another shape."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """The most direct path between two features.

    Attributes:
        free: Number of operations without a weight, by kind.
        i_convs: Convolutions that a residual branch bypasses.
        plain: Convolutions without a bypass.
        others: Other weighted operations, such as norms.
    """

    free: Counter[str]
    i_convs: tuple[str, ...]
    plain: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def is_free(self) -> bool:
        """Whether the path has no weight."""
        return not (self.i_convs or self.plain or self.others)


class Graph:
    """The paths in autograd's graph, from the output back to the image.

    Args:
        net: The network, whose parameters name the weighted operations.
    """

    def __init__(self, net: nn.Module) -> None:
        self.names = {id(p): name.rsplit('.', 1)[0] for name, p in net.named_parameters()}

    def route(self, start: Node, end: Node, stage: str) -> Route:
        """The operations on the most direct path between two nodes, by kind.

        Args:
            start: Beginning of the path, on the output's side.
            end: End of the path, on the image's side.
            stage: Name of the stage for an error.

        Raises:
            FigureError: There is no path.
        """
        path = self.path(start, end)
        if path is None:
            raise FigureError(f'{stage}: no path from its output back to its input')
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
        """The most direct path, without its end, by Dijkstra's algorithm; None if there is no path."""
        count = 0  # breaks ties, because nodes have no order
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
        """The module of an operation's weights, or the name of an operation between features, such as a product."""
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
    """Convolutions, other weighted operations, and steps, in the order of importance."""
    return int(_operation(node) == 'Convolution'), int(_weight(node)), 1


def _is_plain_addition(node: Node, after: Node | None) -> bool:
    """False for an addition whose shortcut is a channel reduction or has weights, because that is counted instead."""
    if _operation(node) != 'Add' or after is None:
        return True
    return not _weight(after) and FREE.get(_operation(after)) != 'channel reduction'
