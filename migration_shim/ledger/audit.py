"""The log of phase changes, shown and verified. See ``core/hash_chain.py`` for what the chain can show and what not."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from typing import Any

from django.db import transaction
from django.utils.timezone import now

from ..core.data import Document, ExitCode, Phase
from ..core.documents.audit import AuditDocument, AuditedCourse, AuditEntry
from ..core.errors import ShimError
from ..core.hash_chain import Head, Link, breaks, holds
from ..models import CoursePhase, PhaseChange

SCHEMA = "migration_shim.xqueue_audit/1"


def run(courses: Collection[str], noted: Any = None) -> Document[AuditDocument]:
    """
    Show and verify the logs of the named courses, or of every course that has a log where none is named.

    The exit code is 2 where a log is broken.

    Args:
        courses: their ids.
        noted: the content of an earlier audit. Each log must still hold the entry that was its newest then. If courses
            are named, only theirs are checked.

    Raises:
        ShimError: ``noted`` is not the content of an audit.
    """
    heads_then = {} if noted is None else heads_of(noted)
    wanted = sorted(courses or _courses() | heads_then.keys())
    described = [_course(course_id, heads_then.get(course_id)) for course_id in wanted]
    broken = sum(len(course["broken"]) for course in described)
    heads = "".join(f"{course['course']} {course['length']} {course['head']}\n" for course in described)
    content: AuditDocument = {
        "schema": SCHEMA,
        "at": now().isoformat(),
        "whole": not broken,
        "broken": broken,
        "compared_with_noted": noted is not None,
        "digest": hashlib.sha256(heads.encode()).hexdigest(),
        "courses": described,
    }
    return Document(content=content, exit_code=ExitCode.DIFFERENCES if broken else ExitCode.OK)


def heads_of(content: Any) -> dict[str, Head]:
    """
    Return the heads in the document of an earlier audit.

    Raises:
        ShimError: ``content`` is not such a document.
    """
    try:
        if content["schema"] != SCHEMA:
            raise ValueError(content["schema"])
        return {
            str(course["course"]): Head(length=int(course["length"]), digest=str(course["head"]))
            for course in content["courses"]
            if course["head"] is not None
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ShimError("That is no document of xqueue_audit --format json.") from error


def _courses() -> set[str]:
    logged = PhaseChange.objects.order_by().values_list("course_id", flat=True).distinct()
    return set(CoursePhase.objects.values_list("course_id", flat=True)) | set(logged)


def _course(course_id: str, noted: Head | None) -> AuditedCourse:
    with transaction.atomic():  # the lock lets record and entries be of one moment
        record = CoursePhase.objects.select_for_update().filter(course_id=course_id).first()
        rows = list(PhaseChange.objects.filter(course_id=course_id).order_by("id"))
    head = Head(length=record.log_length or 0, digest=record.log_digest) if record and record.log_digest else None
    links = [_link(row) for row in rows]
    return {
        "course": course_id,
        "phase": record.phase if record else None,
        "length": head.length if head else 0,
        "head": head.digest if head else None,
        "older": sum(row.digest is None for row in rows),
        "broken": [*breaks(links, head), *_phase_breaks(record, rows), *_noted_breaks(links, noted)],
        "entries": [_entry(row) for row in rows],
    }


def _link(row: PhaseChange) -> Link:
    return Link(id=row.pk, position=row.position, previous=row.previous, digest=row.digest, said=row.said())


def _phase_breaks(record: CoursePhase | None, rows: list[PhaseChange]) -> Iterator[str]:
    """Yield a break where the phase on record is one that no entry led to: this app did not set it."""
    recorded = record.phase if record else Phase.LEGACY
    logged = rows[-1].step_to if rows else Phase.LEGACY
    if recorded != logged:
        yield f"the course is on record as {recorded}, and its log ends in {logged}"


def _noted_breaks(links: list[Link], noted: Head | None) -> Iterator[str]:
    if noted is not None and not holds(links, noted):
        yield f"the entry noted earlier at place {noted.length} is not there any more"


def _entry(row: PhaseChange) -> AuditEntry:
    return {
        "id": row.pk,
        "position": row.position,
        "at": row.changed_at.isoformat(),
        "from": row.step_from,
        "to": row.step_to,
        "by": row.changed_by,
        "reason": row.reason,
        "evidence": row.evidence,
        "digest": row.digest,
    }
