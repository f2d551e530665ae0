"""The documentation names only what exists: links, pictures, paths, modules, commands and flags; README is short."""

import importlib
import re
from pathlib import Path

import pytest
import words
from conftest import CONFIGS, REPO

from fishnet_mmdet.commands import COMMANDS
from fishnet_mmdet.lab.paper.network_page import NETWORK_TABLES
from fishnet_mmdet.lab.paper.readme import results_markdown, variants_markdown

PAGES = sorted([*REPO.glob('*.md'), *REPO.glob('docs/**/*.md')])
TEXTS = {str(path.relative_to(REPO)): path.read_text() for path in PAGES}
FILES = [path for folder in ('fishnet_mmdet', 'tools', 'configs', 'tests') for path in (REPO / folder).rglob('*.py')]
FILES.append(REPO / 'fishnet_mmdet_console.py')
NAMES = {path.name for path in FILES}
HIDDEN = {'--local_rank'}
"""A flag that commands take and `--help` does not list."""

FOREIGN_FILES = {'fix_checkpoint.py', 'my.py', 'my_config.py', 'narrow.py', 'setup.py'}
"""Files that belong to others, or that the reader writes."""

per_page = pytest.mark.parametrize('page', TEXTS)


def prose(text):
    """A page without its blocks of code."""
    return re.sub(r'^ *```.*?^ *```', '', text, flags=re.MULTILINE | re.DOTALL)


def anchors(text):
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r'^#+ (.*)$', prose(text), flags=re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


class TestReadme:
    text = TEXTS['README.md']

    def test_is_read_in_a_minute(self):
        assert self.text.count('\n') <= 100 and len(self.text) <= 7000

    @pytest.mark.parametrize('name, expected', [('variants', variants_markdown), ('results', results_markdown)])
    def test_tables_are_those_of_the_code(self, name, expected):
        """If this fails, paste what tools/paper_tables.py --readme prints between the markers."""
        (shown,) = re.findall(rf'<!-- {name} -->\n(.*)<!-- /{name} -->', self.text, flags=re.DOTALL)
        assert shown == expected()

    def test_published_figures_are_labelled(self):
        results = self.text[self.text.index('## Results') : self.text.index('<!-- results -->')]
        assert 'as published in the paper' in results and 'Nobody has measured them with this code' in results


@pytest.mark.parametrize('name', NETWORK_TABLES)
def test_tables_of_the_network_page_are_those_of_the_code(name):
    """If this fails, paste what tools/paper_tables.py --network prints between the markers."""
    (shown,) = re.findall(rf'<!-- {name} -->\n(.*)<!-- /{name} -->', TEXTS['docs/network.md'], flags=re.DOTALL)
    assert shown == NETWORK_TABLES[name]()


@per_page
def test_links_and_pictures_exist(page):
    for link in re.findall(r'\]\(([^)\s]+)\)', prose(TEXTS[page])):
        if link.startswith(('http://', 'https://', 'mailto:')):
            continue
        path, _, anchor = link.partition('#')
        target = (REPO / page).parent / path if path else REPO / page
        assert target.exists(), f'{page}: {link}'
        assert not anchor or anchor in anchors(target.read_text()), f'{page}: {link}'


def test_every_page_is_in_the_index():
    linked = set(re.findall(r'\]\(([^)#]+)\)', TEXTS['docs/README.md']))
    assert {page.removeprefix('docs/') for page in TEXTS if page.startswith('docs/')} - {'README.md'} <= linked
    assert {'../CONTRIBUTING.md', '../CHANGELOG.md', '../SECURITY.md'} <= linked
    assert 'docs/README.md' in TEXTS['README.md']


@per_page
def test_paths_exist(page):
    for path in re.findall(r'(?<![\w/.$])((?:tools|configs|tests|docs|fishnet_mmdet)/[\w./-]*\w/?)', TEXTS[page]):
        assert (REPO / path).exists(), f'{page}: {path}'
    # Configs of other packages, such as mmdet::..., are not ours.
    for name in re.findall(r'(?<![\w/.])(\w+\.py)\b', re.sub(r'\w+::\S+', '', TEXTS[page])):
        assert name in NAMES | FOREIGN_FILES, f'{page}: {name}'


@per_page
def test_modules_exist(page):
    for dotted in re.findall(r'(?<![\w/.])(fishnet_mmdet(?:\.[a-z_]\w*)+)(?!\.?\w*\.(?:py|md))', TEXTS[page]):
        assert resolves(dotted), f'{page}: {dotted}'


def resolves(dotted):
    """Whether a dotted name is a module, or an attribute of one."""
    parts = dotted.split('.')
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module('.'.join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for name in parts[length:]:
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True
    return False


@per_page
def test_what_a_page_finds_in_a_file_is_there(page):
    """'`ChannelReduction` in `fishnet_mmdet/network/blocks.py`', and `pytest FILE -k WORD`."""
    for name, path in re.findall(r'`(\w+)`\)? (?:in|\() ?`?(\w+/[\w/]+\.py)', prose(TEXTS[page])):
        assert re.search(rf'\b{name}\b', (REPO / path).read_text()), f'{page}: {name} in {path}'
    for path, word in re.findall(r'pytest (tests/\S+\.py)[^\n]*? -k (\w+)', TEXTS[page]):
        assert word in (REPO / path).read_text(), f'{page}: {path} -k {word}'


@per_page
def test_class_names_exist(page):
    source = '\n'.join(path.read_text() for path in FILES if path != Path(__file__))
    foreign = {'DetInferencer', 'NumClassCheckHook', 'CachedMosaic', 'CachedMixUp', 'CheckpointHook'}
    foreign |= {'BatchSyncRandomResize', 'DynamicRoIHead', 'FlexibleRunner'}
    for name in re.findall(r'`([A-Z][a-z]\w*[A-Z]\w*)\b', prose(TEXTS[page])):
        assert name in foreign or re.search(rf'\b{name}\b', source), f'{page}: {name}'


def test_every_config_is_listed():
    listed = set(re.findall(r'`(?:configs/)?((?:_base_/|experiments/)?\w+)\.py`', TEXTS['docs/configs.md']))
    there = {str(path.relative_to(CONFIGS).with_suffix('')) for path in CONFIGS.rglob('*.py')}
    assert {Path(name).name for name in there} == {Path(name).name for name in listed}


def test_new_module_paths_exist():
    rows = re.findall(r'^\| (`[^|]+) \| ([^|]+) \|$', TEXTS['CHANGELOG.md'], flags=re.MULTILINE)
    assert len(rows) > 15
    for old, new in rows:
        paths = re.findall(r'`([\w.]+)`', new)
        if new.startswith('the same below'):
            paths = [f'{paths[0]}.{name.rpartition(".")[2]}' for name in re.findall(r'`([\w.]+)`', old)]
        for path in paths:
            assert resolves(f'fishnet_mmdet.{path}'), f'CHANGELOG.md: {path}'


@pytest.mark.parametrize('command', [*COMMANDS, 'tools/setup_env.py'])
def test_flags_are_those_of_the_commands(command, flags_of):
    taken = flags_of(command)
    sections = dict(re.findall(r'^## (.*)\n((?:(?!## ).*\n)*)', TEXTS['docs/tools.md'], flags=re.MULTILINE))
    shared = flags(sections['Flags that several commands share'])
    own = flags(sections[command])
    assert taken <= own | shared
    assert own <= taken | HIDDEN
    if '--work-dir' in taken:
        assert shared <= taken | HIDDEN


def test_scripts_of_a_clone_are_listed():
    listed = dict(re.findall(r'^\| `tools/(\w+)\.py` \| `([\w-]+)` \|$', TEXTS['docs/tools.md'], flags=re.MULTILINE))
    scripts = {path.stem: re.findall(r"run_tool\('([\w-]+)'\)", path.read_text()) for path in REPO.glob('tools/*.py')}
    assert listed == {script: command for script, commands in scripts.items() for command in commands}


def flags(section):
    """The flags that the table of a section lists."""
    cells = re.findall(r'^\| (`--[^|]+)\|', section, flags=re.MULTILINE)
    return {flag for cell in cells for flag in re.findall(r'`(--[\w-]+)`', cell)}


@per_page
def test_words_that_are_not_used(page):
    """CONTRIBUTING.md lists the words that are not used, CHANGELOG.md the old names."""
    text = prose(TEXTS[page])
    if page in ('CONTRIBUTING.md', 'CHANGELOG.md'):
        text = re.sub(r'^\|.*$|architecture instead of layout', '', text, flags=re.MULTILINE)
    found = words.ANYWHERE.findall(text) + words.IN_PROSE.findall(text)
    assert not found, f'{page}: {found}'
