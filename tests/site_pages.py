"""Counts what a reader sees of a page: headings, paragraphs, lists, tables, blocks of code, pictures."""

from collections import Counter
from html.parser import HTMLParser

from markdown_it import MarkdownIt

SEEN = {'h1', 'h2', 'h3', 'h4', 'p', 'ul', 'ol', 'li', 'pre', 'table', 'tr', 'th', 'td', 'img', 'strong', 'em'}


class _Counter(HTMLParser):
    def __init__(self, inside):
        super().__init__()
        self.counts, self.inside = Counter(), inside

    def handle_starttag(self, tag, attrs):
        self.inside = self.inside or tag == 'article'
        if self.inside and tag in SEEN:
            self.counts[tag] += 1

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != 'article'


def in_html(page):
    """Of a page of the site: of its article."""
    counter = _Counter(inside=False)
    counter.feed(page)
    return counter.counts


def in_markdown(text):
    """Of a page as a code host shows it."""
    counter = _Counter(inside=True)
    counter.feed(MarkdownIt('commonmark').enable('table').render(text))
    return counter.counts


class _References(HTMLParser):
    def __init__(self):
        super().__init__()
        self.loaded, self.linked, self.anchors = set(), set(), set()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors |= {attrs['id']} if 'id' in attrs else set()
        if tag == 'a' and 'href' in attrs:
            self.linked.add(attrs['href'])
        elif tag == 'link' and attrs.get('rel') not in ('canonical', 'next', 'prev'):
            self.loaded.add(attrs['href'])
        elif 'src' in attrs:
            self.loaded.add(attrs['src'])


def references(page):
    """What a page loads, the links that it has, and the anchors that it can be entered at."""
    found = _References()
    found.feed(page)
    return found
