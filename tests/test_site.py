"""The documentation as a site: complete, without a warning, without anything from elsewhere, equal to the pages."""

import os
import posixpath
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
from conftest import REPO
from site_pages import in_html, in_markdown, references

TOOLS = REPO / 'tools' / 'docs_site'
PAGES = [str(path.relative_to(REPO)) for path in sorted([*REPO.glob('*.md'), *REPO.glob('docs/**/*.md')])]

needs_mkdocs = pytest.mark.skipif(
    not (find_spec('material') and find_spec('mkdocstrings_handlers')),
    reason='mkdocs-material and mkdocstrings are not installed: pip install the extra docs',
)


@pytest.fixture(scope='module')
def links():
    """The module that places pages in the site."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TOOLS)
        import site_links

        yield site_links


@pytest.fixture(scope='module')
def public(links):
    """The public names of the package, by name."""
    from api_pages import Sources

    return {name.name: name for name in Sources().public()}


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """The built site: every page by its path, and the folder."""
    folder = tmp_path_factory.mktemp('site')
    # As in a new environment: torch cannot be imported.
    blocked = tmp_path_factory.mktemp('blocked')
    (blocked / 'torch.py').write_text('raise ImportError("the site is built without torch")')
    path = os.pathsep.join([str(blocked), *sys.path[1:]])
    environment = {**os.environ, 'NO_MKDOCS_2_WARNING': '1', 'PYTHONPATH': path}
    command = [sys.executable, '-W', 'ignore', '-m', 'mkdocs', 'build', '--strict', '--quiet', '--site-dir', folder]
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, '')
    return folder, {str(path.relative_to(folder)): path.read_text() for path in folder.rglob('*.html')}


def in_navigation():
    """The pages that the navigation names."""
    navigation = (REPO / 'mkdocs.yml').read_text().split('\nnav:\n')[1]
    lines = [line for line in navigation.splitlines() if not line.lstrip().startswith('#')]
    return set(re.findall(r'[\w/-]+\.md', '\n'.join(lines)))


@pytest.mark.parametrize('page', PAGES)
def test_every_page_is_in_the_navigation(page, links):
    """If this fails, add the page to the end of mkdocs.yml, and if it is not below docs/, to tools/docs_site."""
    assert links.place(page) in in_navigation()


class TestLinks:
    def relinked(self, links, text, page):
        files = []

        def add(path):
            files.append(path)
            return f'files/{path}.txt'

        return links.relink(text, page, add), files

    @pytest.mark.parametrize(
        'page, link, expected',
        [
            ('index.md', 'docs/training.md#faster-ap', 'training.md#faster-ap'),
            ('index.md', 'docs/README.md', 'pages.md'),
            ('index.md', 'docs/fishnet150.svg', 'fishnet150.svg'),
            ('training.md', '../CONTRIBUTING.md#style', 'contributing.md#style'),
            ('training.md', '#faster-ap', '#faster-ap'),
            ('training.md', 'https://example.org/docs/a.md', 'https://example.org/docs/a.md'),
            ('training.md', 'missing.md', 'missing.md'),
        ],
    )
    def test_between_pages(self, page, link, expected, links):
        assert self.relinked(links, f'[x]({link})', page) == (f'[x]({expected})', [])

    def test_to_other_files(self, links):
        text, files = self.relinked(links, 'See [x](../configs/_base_/recipe.py).', 'training.md')
        assert text == 'See [x](files/configs/_base_/recipe.py.txt).' and files == ['configs/_base_/recipe.py']

    def test_code_stays(self, links):
        text = '```md\n[x](../README.md)\n```\n\n[x](../README.md)\n'
        expected = '```md\n[x](../README.md)\n```\n\n[x](index.md)\n'
        assert self.relinked(links, text, 'training.md')[0] == expected


class TestReference:
    def test_has_all_that_the_package_exports(self, public):
        import fishnet_mmdet

        assert {*fishnet_mmdet.__all__, 'LoadPanopticMaps', 'OfficialCocoMetric', 'PanopticQuality'} <= public.keys()

    def test_names_are_where_it_says(self, public):
        from importlib import import_module

        for name in public.values():
            assert getattr(import_module(name.home), name.name) is getattr(import_module(name.module), name.name)

    def test_everything_has_a_text(self, public):
        assert [name.name for name in public.values() if not name.doc] == []


@needs_mkdocs
class TestSite:
    def test_nothing_comes_from_elsewhere(self, site):
        folder, pages = site
        for page, text in pages.items():
            outside = [one for one in references(text).loaded if re.match(r'(?:[a-z]+:)?//', one)]
            assert outside == [], page
        for style in folder.rglob('*.css'):
            assert not re.search(r'url\(["\']?(?:https?:)?//|@import', style.read_text()), style

    def test_links_lead_somewhere(self, site):
        folder, pages = site
        found = {page: references(text) for page, text in pages.items() if page != '404.html'}
        for page, references_ in found.items():
            for link in references_.linked:
                path, _, anchor = link.partition('#')
                if re.match(r'[a-z]+:', link):
                    continue
                target = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
                assert (folder / target).is_file(), f'{page}: {link}'
                assert not anchor or target not in found or anchor in found[target].anchors, f'{page}: {link}'

    @pytest.mark.parametrize('page', PAGES)
    def test_a_page_shows_what_a_code_host_shows(self, page, site, links):
        """Lists, tables and blocks of code: Markdown is not the same everywhere."""
        _, pages = site
        # In a folder, README.md is the page that the folder's address shows.
        place = re.sub(r'(?<=/)README\.md$', 'index.md', links.place(page))
        shown = in_html(pages[place.replace('.md', '.html')])
        assert shown == in_markdown((REPO / page).read_text())

    def test_public_names_have_a_page(self, site, public):
        _, pages = site
        for name in public.values():
            assert f'{name.module}.{name.name}' in references(pages[f'reference/{name.room}.html']).anchors

    def test_works_from_files(self, site):
        folder, pages = site
        assert (folder / 'search' / 'search_index.js').read_text().startswith('var __index = ')
        assert all('assets/iframe-worker.js' in str(references(text).loaded) for text in pages.values())
