"""The measures of the house: sizes, the rooms and what they may import, words, and flags that no test uses."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import words
from conftest import REPO

from fishnet_mmdet.commands import COMMANDS

PACKAGE = REPO / 'fishnet_mmdet'
FILES = sorted(PACKAGE.rglob('*.py'))
TREES = {path: ast.parse(path.read_text()) for path in FILES}

FLOORS = [
    {'base'}, {'network', 'data'}, {'weights'}, {'evaluation'}, {'preflight'}, {'project'}, {'training'}, {'runs'},
    {'deploy'}, {'lab'}, {'fishnet_mmdet'}, {'doctor', 'overview'}, {'commands'}, {'__main__'},
]  # fmt: skip
"""From the ground up; a room imports only from floors below its own. `fishnet_mmdet` is the package's `__init__.py`."""


def place(path, node=None):
    """Where something is, for messages."""
    return f'{path.relative_to(REPO)}' + (f':{node.lineno}' if node else '')


def functions():
    """Every function of the package, with its file and its class, if it is a method."""
    for path, tree in TREES.items():
        for parent in ast.walk(tree):
            for node in ast.iter_child_nodes(parent):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield path, parent.name if isinstance(parent, ast.ClassDef) else None, node


def length(function):
    """Lines of a function without its docstring."""
    lines = function.end_lineno - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= first.end_lineno - first.lineno + 1
    return lines


def arguments(function):
    """Names of a function's arguments, without the object of a method."""
    a = function.args
    names = [argument.arg for argument in [*a.posonlyargs, *a.args, *a.kwonlyargs]]
    return [name for name in names if name not in ('self', 'cls')]


def constructor(name):
    """The `__init__` of a class of the package."""
    (found,) = [node for _, owner, node in functions() if owner == name and node.name == '__init__']
    return found


class TestSizes:
    def test_no_file_is_longer_than_300_lines(self):
        lines = {place(path): len(path.read_text().splitlines()) for path in FILES}
        assert {name: count for name, count in lines.items() if count > 300} == {}

    def test_no_function_is_longer_than_40_lines(self):
        long = {f'{place(path, node)} {node.name}': length(node) for path, _, node in functions()}
        assert {name: count for name, count in long.items() if count > 40} == {}

    def test_no_constructor_has_more_than_10_arguments(self):
        wide = {f'{place(path)} {owner}': arguments(f) for path, owner, f in functions() if f.name == '__init__'}
        assert {name: names for name, names in wide.items() if len(names) > 10} == {}

    def test_the_network_is_built_in_few_lines(self):
        assert length(constructor('FishNet')) <= 40
        assert len(arguments(constructor('BodyStage'))) <= 4


def module_name(path):
    parts = path.relative_to(REPO).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


MODULES = {module_name(path): path for path in FILES}


def imported(path, tree):
    """Names of the modules of the package that a file imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{place(path, node)}: a relative import'
            for alias in node.names:
                names = (f'{node.module}.{alias.name}', node.module)
                yield from [name for name in names if name in MODULES][:1]


def room(module):
    """The folder or file below the package that a module belongs to."""
    return module.split('.')[1] if '.' in module else module


IMPORTS = {name: set(imported(path, TREES[path])) - {name} for name, path in MODULES.items()}


class TestRooms:
    def test_there_are_at_most_13_and_all_have_a_floor(self):
        rooms = {room(name) for name in MODULES}
        assert len([name for name in rooms if (PACKAGE / name).is_dir()]) <= 13
        assert rooms == set.union(*FLOORS)

    def test_nothing_is_imported_from_above(self):
        floor = {name: number for number, names in enumerate(FLOORS) for name in names}
        crossing = [(a, b) for a, names in IMPORTS.items() for b in names if room(a) != room(b)]
        assert [f'{a} imports {b}' for a, b in crossing if floor[room(b)] >= floor[room(a)]] == []

    def test_no_circle(self):
        try:
            TopologicalSorter(IMPORTS).prepare()
        except CycleError as error:
            pytest.fail(' imports '.join(reversed(error.args[1])))

    def test_only_its_commands_import_the_laboratory(self):
        importing = {room(name) for name, names in IMPORTS.items() if 'lab' in map(room, names)}
        assert importing <= {'lab', 'commands'}

    def test_no_test_file_imports_another(self):
        tests = [path for path in (REPO / 'tests').rglob('*.py')]
        lines = [(path, line) for path in tests for line in path.read_text().splitlines()]
        assert [place(path) for path, line in lines if re.match(r'\s*(from|import) test_', line)] == []


class TestWords:
    """Of Python and shell files; tests/test_docs.py holds the pages to the same words."""

    @staticmethod
    def sources(*folders):
        for folder in folders:
            yield from (path for path in (REPO / folder).rglob('*') if path.suffix in ('.py', '.sh'))

    def test_anywhere(self):
        lines = [
            (path, number, line)
            for path in self.sources('configs', 'fishnet_mmdet', 'tests', 'tools')
            for number, line in enumerate(path.read_text().splitlines(), start=1)
        ]
        found = report(lines, words.ANYWHERE)
        assert not found, found

    def test_in_messages_docstrings_and_comments(self):
        files = [path for path in self.sources('configs', 'fishnet_mmdet', 'tools') if path.suffix == '.py']
        lines = [(path, number, line) for path in files for number, line in words.prose(path.read_text())]
        found = report(lines, words.IN_PROSE)
        assert not found, found


def report(lines, pattern):
    return '\n'.join(f'{place(path)}:{number}: {line.strip()}' for path, number, line in lines if pattern.search(line))


@pytest.mark.parametrize('command', [*COMMANDS, 'tools/setup_env.py'])
def test_every_flag_is_in_a_test(command, flags_of):
    """Every flag that --help shows."""
    flags = flags_of(command)
    own = Path(__file__).resolve()
    tests = ''.join(path.read_text() for path in (REPO / 'tests').rglob('*.py') if path.resolve() != own)
    assert {flag for flag in flags if not re.search(rf'(?<![\w-]){flag}(?![\w-])', tests)} == set()
