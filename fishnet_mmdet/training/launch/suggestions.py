"""What a misspelt name in a config was probably meant to be."""

import difflib
import inspect
import traceback
from collections.abc import Iterable

import mmengine.registry
from mmengine.registry import Registry


def closest_type(name: str, kind: str) -> str:
    """Asks for the registered type whose name is closest to an unknown one; empty if none is close.

    Args:
        name: The unknown type, with or without its scope.
        kind: Name of MMEngine's registry, such as 'model'.
    """
    roots = {id(found): found for found in vars(mmengine.registry).values() if isinstance(found, Registry)}.values()
    related = [child for root in roots if root.name == kind for child in (root, *root.children.values())]
    return _ask(name.rpartition('.')[2], (known for registry in related for known in registry.module_dict))


def closest_argument(error: Exception, keyword: str) -> str:
    """Asks for the argument whose name is closest to one that a constructor does not take; empty if none is close.

    Args:
        error: The error of the call, made by MMEngine's registry or by the constructor of a derived class.
        keyword: The argument.
    """
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    made = frame.f_locals.get('obj_cls') or type(frame.f_locals.get('self'))
    bases = inspect.getmro(made) if isinstance(made, type) else ()
    parameters = [p for base in bases for p in inspect.signature(base.__init__).parameters.values()]
    return _ask(
        keyword, (p.name for p in parameters if p.name != 'self' and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
    )


def _ask(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, set(known), n=1)
    return f' Did you mean {close[0]!r}?' if close else ''
