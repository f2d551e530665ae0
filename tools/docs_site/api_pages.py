"""The pages of the API reference: one for each room, with what users import or name in configs.

Sources are parsed, not imported: the site is built without torch. Public is what an `__all__` names, what is registered
for configs (`type='...'`), and what a page of the documentation imports. The texts are the docstrings.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from site_links import REPO

PACKAGE = REPO / 'fishnet_mmdet'
INTERNAL = {'commands', 'console', 'lab'}
"""Folders whose names are for the package itself."""

ORDER = ('network', 'data', 'weights', 'evaluation', 'preflight', 'project', 'training', 'deploy', 'base')
"""The rooms as the index lists them."""

IMPORT = re.compile(r'^from (fishnet_mmdet[\w.]*) import (\w[\w, ]*)', re.MULTILINE)


@dataclass(frozen=True)
class Name:
    """A public name.

    Attributes:
        name: The name.
        module: Module that defines it, such as `fishnet_mmdet.network.fishnet`.
        home: Package or module to import it from, such as `fishnet_mmdet`.
        registered: Whether a config finds it by `type`.
        doc: First paragraph of its docstring, in one line.
    """

    name: str
    module: str
    home: str
    registered: bool
    doc: str

    @property
    def room(self) -> str:
        """The folder below the package, such as `network`."""
        return self.module.split('.')[1]


class Sources:
    """The parsed modules of the package."""

    def __init__(self) -> None:
        self.trees = {path: ast.parse(path.read_text('utf-8')) for path in sorted(PACKAGE.rglob('*.py'))}

    def module(self, path: Path) -> str:
        """The dotted name of a file."""
        parts = path.relative_to(REPO).with_suffix('').parts
        return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)

    @cached_property
    def definitions(self) -> dict[str, list[tuple[str, ast.stmt, str]]]:
        """Every name that a module defines at its top: the modules, the statements, and what documents them."""
        found: dict[str, list[tuple[str, ast.stmt, str]]] = {}
        for path, tree in self.trees.items():
            for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
                for name in _defined(node):
                    found.setdefault(name, []).append((self.module(path), node, _doc(node, after)))
        return found

    def public(self) -> list[Name]:
        """All public names, in the order of the alphabet."""
        homes: dict[tuple[str, str], str] = {}
        for name, home in self._claims():
            if INTERNAL & {*home.split('.')}:
                continue
            (module,) = {where for where, *_ in self.definitions[name] if f'{where}.'.startswith(f'{home}.')}
            known = homes.setdefault((name, module), home)
            homes[name, module] = min(known, home, key=len)
        return sorted((self._describe(*key, home) for key, home in homes.items()), key=lambda n: n.name.lower())

    def _claims(self) -> Iterator[tuple[str, str]]:
        """Public names with the place to import them from."""
        for path, tree in self.trees.items():
            if path.name == '__init__.py':
                yield from ((name, self.module(path)) for name in _exported(tree))
        for name, places in self.definitions.items():
            yield from ((name, module) for module, node, _ in places if _registered(node))
        for page in (*REPO.glob('*.md'), *REPO.glob('docs/*.md')):
            for home, names in IMPORT.findall(page.read_text('utf-8')):
                yield from ((name.strip(), home) for name in names.split(','))

    def _describe(self, name: str, module: str, home: str) -> Name:
        (node, doc), *_ = [(node, doc) for where, node, doc in self.definitions[name] if where == module]
        return Name(name, module, home, _registered(node), ' '.join(doc.split('\n\n')[0].split()))


def pages() -> dict[str, str]:
    """Place and Markdown of every page of the reference."""
    sources = Sources()
    rooms: dict[str, list[Name]] = {}
    for name in sources.public():
        rooms.setdefault(name.room, []).append(name)
    docs = {room: ast.get_docstring(sources.trees[PACKAGE / room / '__init__.py']) for room in rooms}
    found = {f'reference/{room}.md': _page(room, docs[room], names) for room, names in rooms.items()}
    index = [
        f'- **[{room}]({room}.md)**: {_first(docs[room])}<br>\n    {_links(room, rooms[room])}'
        for room in sorted(rooms, key=_floor)
    ]
    return {'reference/index.md': INDEX + '\n'.join(index), **found}


INDEX = """\
# API reference

What users import, or name in configs by `type`. It is grouped by the rooms of the package
([contributing](../contributing.md#how-to-read-the-code)), and written from the docstrings.

"""


def _floor(room: str) -> int:
    return [*ORDER, room].index(room)


def _page(room: str, doc: str, names: list[Name]) -> str:
    rows = ''.join(f'| [`{n.name}`][{n.module}.{n.name}] | {_use(n)} | {_first(n.doc)} |\n' for n in names)
    objects = ''.join(f'::: {n.module}.{n.name}\n\n' for n in names)
    return f'# fishnet_mmdet.{room}\n\n{doc}\n\n| name | use | |\n|---|---|---|\n{rows}\n{objects}'


def _use(name: Name) -> str:
    if name.registered:
        return f"`type='{name.name}'`"
    return f'`from {name.home} import {name.name}`'


def _links(room: str, names: list[Name]) -> str:
    return ', '.join(f'[`{n.name}`]({room}.md#{n.module}.{n.name})' for n in names)


def _first(doc: str) -> str:
    """The first sentence, fit for a cell of a table."""
    return re.split(r'(?<=\.)\s', ' '.join(doc.split()))[0].replace('|', r'\|')


def _exported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, 'target', None)
        if isinstance(node, ast.Assign | ast.AugAssign) and getattr(target, 'id', '') == '__all__':
            yield from ast.literal_eval(node.value)


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _doc(node: ast.stmt, after: ast.stmt | None) -> str:
    """The docstring of a class or function; the string below a constant."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return ast.get_docstring(node) or ''
    below = after.value if isinstance(after, ast.Expr) else None
    return below.value if isinstance(below, ast.Constant) and isinstance(below.value, str) else ''


def _registered(node: ast.stmt) -> bool:
    return any('register_module' in ast.unparse(one) for one in getattr(node, 'decorator_list', []))
