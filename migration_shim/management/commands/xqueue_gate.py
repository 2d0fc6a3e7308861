"""``xqueue_gate``: may these courses move on?"""

from __future__ import annotations

import functools
from typing import Any

from django.core.management.base import CommandParser

from ...core.data import Document, Verdict
from ...core.documents.gate import GateDocument
from ...core.evidence import Cause
from ...cutover import gate
from .. import selection, several
from ..command import ShimCommand

_ORDER = tuple(Cause)


class Command(ShimCommand):
    """Print the verdicts of courses from stored evidence, and put them on record."""

    help = "The verdict of each course, from stored evidence: PASS, FAIL, INCONCLUSIVE or STALE, with every reason."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        super().add_arguments(parser)
        selection.add_arguments(parser, everything="every course that the shim has on record")
        parser.add_argument("--explain", action="store_true", help="show the counts and the arithmetic in the text")

    def document(self, *, explain: bool, **options: Any) -> Document:
        """Return the verdict, or those of several courses."""
        courses = self.courses(options, begun=True)
        if not courses:
            return several.nobody(options)
        if not selection.is_one(options, courses):
            judge = functools.partial(gate.run_gate, away=gate.legacy_away())
            return several.run(several.GATE_SCHEMA, "gate", courses, judge, counts=_counts, following=_following)
        answer = gate.run_gate(courses[0])
        if not explain and options["format"] == "text":
            content = {key: value for key, value in answer.content.items() if key != "evidence"}
            return Document(content=content, exit_code=answer.exit_code)
        return answer


def _counts(found: list[GateDocument]) -> dict[str, int]:
    """Count the courses by cause, the worst cause first."""
    causes = [content["cause"] for content in found]
    return {cause.value: causes.count(cause) for cause in Cause if cause in causes}


def _following(found: list[GateDocument]) -> str:
    """Return the look at the course with the worst cause; where all may move, the step of the first of them."""
    worst = min(found, key=lambda content: _ORDER.index(content["cause"]), default=None)
    if worst is None:
        return ""
    if worst["verdict"] != Verdict.PASS:
        return f"xqueue_gate --course {worst['course']} --explain"
    ready = next((content for content in found if content["next_step"]), None)
    return f"xqueue_cutover --course {ready['course']} --to {ready['next_step']} --reason TEXT" if ready else ""
