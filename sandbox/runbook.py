"""The commands of the runbook's pages: a drill and a test run what an operator would read there, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sandbox.databases import PROJECT_ROOT

INDEX = PROJECT_ROOT / "docs" / "runbook.md"
PAGES = PROJECT_ROOT / "docs" / "runbook"
_HEADING = re.compile(r"^(#{1,6}) (.+?)\s*$")
_COMMAND = re.compile(r"((?:waffle_switch|xqueue_\w+) [^`\n]*)")


def commands(heading: str | None = None, *, but: str = "") -> set[str]:
    """
    The commands below one heading, or of the whole runbook, each as ``shape`` gives it.

    ``but`` names a page that is left out. Raises KeyError where no page has the heading.
    """
    return {shape(words) for text in texts(heading, but=but) for words in _COMMAND.findall(text)}


def texts(heading: str | None = None, *, but: str = "") -> list[str]:
    """The text below one heading, once for each page that has it, or all pages. KeyError: no page has it."""
    paths = [path for path in (INDEX, *sorted(PAGES.glob("*.md"))) if path.name != but]
    pages = [path.read_text(encoding="utf-8") for path in paths]
    found = pages if heading is None else [section for page in pages for section in _sections(page, heading)]
    if not found:
        raise KeyError(heading)
    return found


def _sections(text: str, heading: str) -> Iterator[str]:
    """What stands below each heading of this name, up to the next one of its level or above."""
    lines, level, fenced = [], 0, False
    for line in text.splitlines():
        # A comment of a shell in a block of code looks like a heading.
        fenced ^= line.lstrip().startswith("```")
        found = None if fenced else _HEADING.match(line)
        if found and level and len(found[1]) <= level:
            yield "\n".join(lines)
            lines, level = [], 0
        if level:
            lines.append(line)
        elif found and found[2] == heading:
            level = len(found[1])
    if level:
        yield "\n".join(lines)


def shape(words: str) -> str:
    """A command without what differs from course to course. Each that writes prints its plan without --execute."""
    words = re.sub(r"--reason (?:\"[^\"]*\"|'[^']*'|\S+)", "--reason TEXT", words)
    words = re.sub(r"(?: --course \S+)+", " --course ID", words)
    return " ".join(words.replace(" --execute", "").split())
