"""Reading rendered reports back with the standard library's own parsers."""

import csv
import io
import re
from html.parser import HTMLParser

from migration_shim.reports import csv_report
from migration_shim.reports.formats import RENDERERS

VOID = {"meta", "rect", "br", "link", "img", "input"}


class Page(HTMLParser):
    """The elements of a page as (tag, attributes, own text), with a check that they nest."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.elements = [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        element = (tag, dict(attributes), [])
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), []))

    def handle_endtag(self, tag):
        assert self.open[-1][0] == tag, (tag, self.open[-1])
        self.open.pop()

    def handle_data(self, data):
        for _, _, text in self.open:
            text.append(data)

    def all(self, tag=None, **wanted):
        """(attributes, text) of every element of this tag with these attributes; ``_`` stands for a hyphen."""
        wanted = {key.replace("_", "-"): value for key, value in wanted.items()}
        return [
            (attributes, "".join(text).strip())
            for name, attributes, text in self.elements
            if tag in (None, name) and all(attributes.get(key) == value for key, value in wanted.items())
        ]


def table(text):
    """The rows of a CSV report as dictionaries."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


def tables(report):
    """The text of every CSV table that a report has, by kind; that of the divergences is ``divergences``."""
    return {
        "divergences": "".join(csv_report.render(report)),
        **{kind: "".join(csv_report.renderer_of(kind)(report)) for kind in csv_report.KINDS},
    }


def rendered(ending, report):
    """A report in one format; as CSV it is all of its tables."""
    return "\n".join(tables(report).values()) if ending == ".csv" else "".join(RENDERERS[ending](report))


def markdown_rows(text):
    """The cells of every table row, split as a reader of GitHub's Markdown splits them."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
