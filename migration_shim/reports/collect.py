"""Collect what a reconcile's report says besides the comparison: verdicts, overrides, known differences, the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.utils.timezone import now

from ..conf import load
from ..core import json_text
from ..core.data import LegacyRow, State
from ..core.documents.reconcile import ReconcileDocument
from ..core.documents.reconcile_report import ReportedRun
from ..core.errors import Malformed
from ..core.wire import parse_body
from ..cutover import gate, override_records
from ..ledger import known_differences
from ..legacy import rows as legacy_rows
from ..legacy import timeouts
from ..models import KnownDifference
from ..runs import records as run_records
from ..target import outcomes, reader
from .report import Report

Content = dict[str, Any]


def gather(
    reconcile: ReconcileDocument, divergences: Callable[[], Iterator[Content]], *, include_content: bool = False
) -> Report:
    """
    Return the report of a reconcile that has just ended. Nothing is written: no verdict and no permit.

    Args:
        reconcile: the document of ``reconcile.run``.
        divergences: opens a new pass over the divergences that the run gave to its ``on_divergence``.
        include_content: let the report show learners' answers and graders' messages.

    Raises:
        ConfigurationError: the settings are not usable.
    """
    courses = [course["course"] for course in reconcile["courses"]]
    moment = now()
    register = KnownDifference.objects.filter(course_id__in=("", *courses)).order_by("pk")
    hits = known_differences.hits_of(register)
    return Report(
        reconcile=reconcile,
        made_at=moment.isoformat(),
        gates={course: gate.document(course, *gate.evaluate_course(course)) for course in courses},
        runs={course: run for course in courses if (run := _run(course)) is not None},
        overrides=[{"course": course, **item} for course in courses for item in override_records.described(course)],
        known_differences=[known_differences.described(item, moment, hits[item.pk]) for item in register],
        divergences=divergences,
        content=learner_content if include_content else None,
        rows=side_rows,
    )


def _run(course_id: str) -> ReportedRun | None:
    run = run_records.last("reconcile", course_id)
    if run is None:
        return None
    return {
        "run": run.pk,
        "versions": run.versions,
        "settings_digest": run_records.digest(run.settings),
        "sample_percent": load().sample_of(course_id),
    }


def side_rows(divergences: list[Content]) -> list[Content]:
    """
    Return for each divergence what only the systems' own rows have: when legacy returned it, the points that the
    target stored, and how often the target failed. Four statements in all; a database that is away leaves its values
    unknown.
    """
    try:
        rows = legacy_rows.by_id(_ids(divergences, "legacy_id"))
    except timeouts.AWAY:
        rows = {}
    sides = outcomes.sides(_ids(divergences, "submission_id"))
    found = []
    for item in divergences:
        row, side = rows.get(item["legacy_id"]), sides.get(item["submission_id"])
        outcome = side.outcome if side else None
        found.append(
            {
                "legacy_returned_at": row.return_time.isoformat() if row and row.return_time else None,
                "target_points": outcome.points.stored if outcome and outcome.points else None,
                "target_failures": outcome.attempts if outcome and outcome.state is State.FAILED else None,
            }
        )
    return found


def learner_content(divergences: list[Content]) -> list[Content]:
    """Return the learner's answer and the grader's message on either side, for each divergence; two queries in all."""
    rows = legacy_rows.by_id(_ids(divergences, "legacy_id"))
    target = reader.replies(_ids(divergences, "submission_id"))
    found = []
    for item in divergences:
        row, (answer, reply) = rows.get(item["legacy_id"]), target.get(item["submission_id"], (None, None))
        found.append(
            {
                "answer": _text(answer if row is None else _answer(row, answer)),
                "legacy_message": _message(row.grader_reply) if row else None,
                "target_message": _message(reply),
            }
        )
    return found


def _answer(row: LegacyRow, answer: Any) -> Any:
    """Return the answer as legacy holds it, or the given one of the target where legacy's body cannot be read."""
    try:
        return parse_body(row.xqueue_body).student_response
    except Malformed:
        return answer


def _text(answer: Any) -> str | None:
    return answer if answer is None or isinstance(answer, str) else json.dumps(answer)


def _ids(divergences: Iterable[Content], key: str) -> set[int]:
    return {item[key] for item in divergences if item[key] is not None}


def _message(reply: str | None) -> str | None:
    """Return a grader's message, or the whole reply if it holds no message."""
    if not reply:
        return None
    try:
        message = json_text.loads(reply)["msg"]
    except (ValueError, LookupError, TypeError):
        return reply
    return message if isinstance(message, str) else reply
