"""Reading a page of the admin back with the standard library's own parser."""

from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br", "img", "hr"}


class Page(HTMLParser):
    """The elements of a page as (tag, attributes, text), with a check that they nest; styles are no text."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.elements = [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(self.elements[-1])

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), []))

    def handle_endtag(self, tag):
        assert self.open[-1][0] == tag, (tag, self.open[-1])
        self.handle_data(" ")
        self.open.pop()

    def handle_data(self, data):
        if not any(tag in ("style", "script") for tag, *_ in self.open):
            for _, _, text in self.open:
                text.append(data)

    def all(self, tag=None, **wanted):
        """(attributes, text) of every element of this tag with these attributes."""
        return [
            (attributes, " ".join("".join(text).split()))
            for name, attributes, text in self.elements
            if tag in (None, name) and all(attributes.get(key) == value for key, value in wanted.items())
        ]

    @property
    def text(self):
        """All that is to be read, with single blanks."""
        return self.all("body")[0][1]
