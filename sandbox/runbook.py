"""The commands of the runbook, index and pages: a drill and a test run what stands there, and nothing else."""

from __future__ import annotations

import re

from sandbox.databases import PROJECT_ROOT

DOCS = PROJECT_ROOT / "docs"
RUNBOOK = (DOCS / "runbook.md", *sorted((DOCS / "runbook").glob("*.md")))


def commands(heading: str | None = None) -> set[str]:
    """The commands of one section, or of the whole runbook, each as ``shape`` gives it. KeyError: no such section."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in RUNBOOK)
    if heading is not None:
        parts = re.split(r"^## (.+)$", text, flags=re.M)
        text = dict(zip(parts[1::2], parts[2::2], strict=True))[heading]
    return {shape(words) for words in re.findall(r"((?:waffle_switch|xqueue_\w+) [^`\n]*)", text)}


def shape(words: str) -> str:
    """A command without what differs from course to course. Each that writes prints its plan without --execute."""
    words = re.sub(r"--reason (?:\"[^\"]*\"|'[^']*'|\S+)", "--reason TEXT", words)
    words = re.sub(r"(?: --course \S+)+", " --course ID", words)
    return " ".join(words.replace(" --execute", "").split())
