"""MkDocs hooks: pages from beside docs/, links between files of the repository, and the pages of the API reference."""

from __future__ import annotations

from api_pages import pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from site_links import PAGES, REPO, relink


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Adds the pages that are not below docs/, or not at the same place."""
    if index := files.get_file_from_path('README.md'):
        files.remove(index)
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(REPO / source)))
    for page, text in pages().items():
        files.append(File.generated(config, page, content=text))
    for name in ('site.css', 'iframe-worker.js'):
        files.append(File.generated(config, f'assets/{name}', abs_src_path=f'{REPO}/tools/docs_site/{name}'))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links between files of the repository into links of the site.

    Other files that a page links are added as text, under `files/`.
    """

    def add(path: str) -> str:
        there = f'files/{path}.txt'
        if there not in files.src_uris:
            files.append(File.generated(config, there, abs_src_path=str(REPO / path)))
        return there

    if page.file.src_uri.startswith('reference/'):
        return markdown
    return relink(markdown, page.file.src_uri, add)
