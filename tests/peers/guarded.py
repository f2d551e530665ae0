"""Tests of others, copied so that a failing statement is noted and does not hide the statements after it.

A test of theirs can be 400 lines long and check fifty things. Where one of them differs on purpose, the others must
still be checked. So each statement of a test runs on its own, and a failure is noted by its line.
"""

import ast
import os
import shutil
from pathlib import Path
from types import TracebackType
from unittest import SkipTest

ALONE = (ast.For, ast.While, ast.If, ast.With)
"""Statements whose bodies are guarded statement by statement."""

ASSERTING = ('assertRaises', 'assertRaisesRegex', 'assertLogs', 'assertWarns', 'assertWarnsRegex', 'raises', 'warns')
"""Contexts that expect an exception or a message of their body, which therefore stays whole."""

AS_THEY_ARE = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal, ast.Pass)


class Statement:
    """The context in which a statement of a test runs.

    Args:
        line: Its line in their file.
    """

    noted: dict[int, str] = {}
    """The failures of the test that runs, by line."""

    noting_process: int | None = None
    """The process in which failures are noted. In others, such as the children of a test, they end the test."""

    def __init__(self, line: int) -> None:
        self.line = line

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if not isinstance(error, Exception) or isinstance(error, SkipTest) or self.noting_process != os.getpid():
            return False
        # A variable that an earlier statement failed to assign is not a finding of its own.
        if not (self.noted and isinstance(error, NameError)):
            self.noted.setdefault(self.line, f'{kind.__name__}: {error}'[:400])
        return True


def copy_tests(source: Path, target: Path) -> None:
    """Copies a folder of tests; the statements of every test function in it are guarded.

    Args:
        source: The folder `tests` of their sources.
        target: Where the copy goes. It must not exist.
    """
    shutil.copytree(source, target)
    for path in target.rglob('test_*.py'):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name.startswith('test'):
                node.body = _guarded(node.body)
        first = 1 if ast.get_docstring(tree) else 0
        tree.body[first:first] = ast.parse('import stand_ins as _stand_ins').body
        path.write_text(ast.unparse(ast.fix_missing_locations(tree)))


def _guarded(body: list[ast.stmt]) -> list[ast.stmt]:
    return [node if isinstance(node, AS_THEY_ARE) else _guard(node) for node in body]


def _guard(node: ast.stmt) -> ast.stmt:
    if isinstance(node, ALONE) and not (isinstance(node, ast.With) and _asserts(node)):
        node.body = _guarded(node.body)
        if not isinstance(node, ast.With):
            node.orelse = _guarded(node.orelse)
    context = ast.parse(f'with _stand_ins.Statement({node.lineno}): pass').body[0]
    context.body = [node]
    return context


def _asserts(node: ast.With) -> bool:
    calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
    return any(getattr(call.func, 'attr', getattr(call.func, 'id', '')) in ASSERTING for call in calls)
