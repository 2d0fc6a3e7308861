"""``xqueue_preflight``: what would break on the target, before any write."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from ...core.data import Document
from ...core.documents.preflight import PreflightDocument
from ...core.documents.several import PreflightCounts
from ...core.findings import BLOCKER
from ...preflight import run as preflight_run
from .. import selection, several
from ..command import ShimCommand


class Command(ShimCommand):
    """Look at all legacy rows of courses and list what the target would do differently."""

    help = (
        "List what the target would do differently for courses. Writes nothing on legacy or on the target, but for "
        "the submissions that --probe sends."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options."""
        super().add_arguments(parser)
        selection.add_arguments(parser, everything="every course that the shim knows, or was found in XQueue")
        parser.add_argument(
            "--probe",
            action="store_true",
            help="send the newest graded submission of each queue once more, fenced, to the queue of its reverse "
            "shadows, to see whether a grader polls it; run again without it once the graders had time",
        )

    def tolerates_complaints(self, options: dict[str, Any]) -> bool:
        """Return True: the command only reads, and reports the complaints of the checks as blockers."""
        return True

    def document(self, *, probe: bool, **options: Any) -> Document:
        """Return the findings."""
        courses = self.courses(options)
        if not courses:
            return several.nobody(options)

        def look(course: str) -> Document[PreflightDocument]:
            return preflight_run.run(course, self.progress("preflight"), probe=probe)

        if selection.is_one(options, courses):
            return look(courses[0])
        return several.run(several.PREFLIGHT_SCHEMA, "preflight", courses, look, counts=_counts, following=_following)


def _blockers(content: PreflightDocument) -> int:
    return len({item["code"] for item in content["findings"] if item["severity"] == BLOCKER})


def _counts(found: list[PreflightDocument]) -> PreflightCounts:
    blocked = sum(bool(_blockers(content)) for content in found)
    return {"blocked": blocked, "clear": len(found) - blocked}


def _following(found: list[PreflightDocument]) -> str:
    """Return the look at the worst course by itself; the next step is ``xqueue_reconcile`` where none is blocked."""
    worst = max(found, key=_blockers, default=None)
    if worst is None:
        return ""
    return f"xqueue_{'preflight' if _blockers(worst) else 'reconcile'} --course {worst['course']}"
