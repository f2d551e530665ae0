"""A node of a config: a dict with the `type` of what is built from it."""

from collections.abc import Mapping


def name_of(node: Mapping) -> str:
    """The `type` of a node, without its scope; configs of classes hold the class itself."""
    kind = node.get('type')
    return getattr(kind, '__name__', str(kind)).split('.')[-1]
