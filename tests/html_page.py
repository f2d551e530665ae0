"""A page of HTML, read with the standard library alone."""

from html.parser import HTMLParser

VOID = {'meta', 'img', 'wbr', 'br'}


class Page(HTMLParser):
    """Tags, text and addresses of a page; fails where tags do not close in order."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.texts, self.addresses = [], [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.addresses += [v for k, v in attributes if k in ('src', 'href', 'xlink:href', 'srcset', 'action', 'data')]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else '', data))

    def text(self, tag):
        return ' '.join(data for owner, data in self.texts if owner == tag)
