"""docs/faq.md quotes messages as the code prints them, and answers each question shortly."""

import ast
import re
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from conftest import REPO
from mmdet.utils import register_all_modules
from mmengine.registry import MODELS, DefaultScope

TEXT = (REPO / 'docs' / 'faq.md').read_text()
QUESTIONS = re.findall(r'^### (.*)\n((?:(?!##).*\n)*)', TEXT, flags=re.MULTILINE)
QUOTES = re.findall(r'^> (.*)$', TEXT, flags=re.MULTILINE)
SOURCES = {
    'Failed to import': 'mmengine/utils/misc.py',
    'MMCV==': 'mmdet/__init__.py',
    'The testing results': 'mmdet/evaluation/metrics/coco_metric.py',
    'Weights only': 'torch/serialization.py',
}
"""Files of other packages, by the beginning of what they print."""

SEEN = {
    "KeyError: 'mask'": ('mmdet/datasets/transforms/loading.py', "instance['mask']"),
    'EOFError': ('yapf_third_party/_ylib2to3/pgen2/grammar.py', 'pickle.load(f)'),
    'Unexpected bus error': ('torch/lib/libtorch_python.so', 'Unexpected bus error encountered in worker.'),
}
"""Messages that no Python file has as a text: a file, and what causes or holds them."""


def templates(path):
    """The texts of a Python file, with `...` for what is filled in."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield ''.join(part.value if isinstance(part, ast.Constant) else '...' for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r'\{\w+(?::[^}]*)?\}', '...', node.value)


def installed(name):
    """A file of another package."""
    package, _, rest = name.partition('/')
    return Path(find_spec(package).submodule_search_locations[0]) / rest


@pytest.fixture(scope='module')
def ours():
    return '\n'.join(text for path in REPO.glob('fishnet_mmdet/**/*.py') for text in templates(path))


def plain(text):
    return ' '.join(text.replace('...', ' ').split())


@pytest.mark.parametrize('quote', QUOTES)
def test_messages_are_printed_like_this(quote, ours):
    for begin, (name, cause) in SEEN.items():
        if quote.startswith(begin):
            assert cause.encode() in installed(name).read_bytes()
            return
    if quote.startswith('FishNet is not in'):
        register_all_modules()
        with DefaultScope.overwrite_default_scope('mmdet'), pytest.raises(KeyError) as error:
            MODELS.build(dict(type='FishNett'))
        assert quote.replace('FishNet', 'FishNett') in str(error.value)
        return
    source = next((name for begin, name in SOURCES.items() if begin in quote), None)
    if source == 'mmdet/__init__.py' and not has('mmdet'):
        pytest.skip("OneDL's package takes any mmcv")
    texts = ours if source is None else '\n'.join(templates(installed(source)))
    assert plain(quote) in plain(texts)


def has(distribution):
    try:
        return bool(version(distribution))
    except PackageNotFoundError:
        return False


def test_about_the_classes_message():
    from fishnet_mmdet.training.guards.class_count import ClassCountError, mismatches

    with pytest.raises(ClassCountError, match='A single class is written with a comma'):
        mismatches(torch.nn.Module(), dict(classes='cell'), 'train')


@pytest.mark.parametrize('question, answer', QUESTIONS)
def test_answers_are_short_and_lead_on(question, answer):
    """Two to eight sentences beside the quotes; a page or a command to go on with."""
    text = ' '.join(line for line in answer.splitlines() if not line.startswith('>'))
    assert '](' in text or '`' in text, question
    assert len(text.split()) <= 130, f'{question}: {len(text.split())} words'


def test_there_are_about_twenty_questions():
    assert len(QUESTIONS) >= 20
