"""The list of undelivered submissions. The course's log records who has looked learners up in it."""

from __future__ import annotations

from django.db import transaction
from django.utils.timezone import now

from ..core.data import DivergenceClass, Document, ExitCode, Phase
from ..core.documents.undelivered import UndeliveredDocument, UndeliveredRow
from ..core.errors import ShimError
from ..cutover import invariants
from ..ledger import attempts
from ..lms import state
from ..models import CoursePhase, Divergence, PhaseChange

SCHEMA = "migration_shim.xqueue_undelivered/1"


def listing(course_id: str, *, learners: bool, reason: str, user: str) -> Document[UndeliveredDocument]:
    """
    Return the submissions of a course whose learners waited in vain when their states were asked last.

    Args:
        course_id: the course.
        learners: give the LMS user ids too, which is recorded before they are given.
        reason: why learners are looked up; empty where they are not.
        user: who looks them up.

    Raises:
        ShimError: learners are to be named of a course that the shim does not know.
    """
    entries = invariants.undelivered_entries(course_id).order_by("pk")
    alarms = Divergence.objects.filter(entry__in=entries.values("pk"), klass=DivergenceClass.UNDELIVERED)
    what = dict(alarms.values_list("entry_id", "what"))
    found: list[UndeliveredRow] = []
    for entry in entries.defer("grader_payload", "extra_body").iterator():
        one = attempts.submitted(entry.raw_header, entry.student_info, entry.learner) if learners else None
        found.append(
            {
                "entry": entry.pk,
                "submission": entry.target_submission_id,
                "problem": entry.item_id,
                "queue": entry.queue_name,
                "arrived_at": entry.arrived_at.isoformat(),
                "what": what.get(entry.pk, ""),
                "deliveries": entry.delivery_tries,
                "undeliverable": entry.undeliverable,
                "user_id": one.place.user_id if one is not None else None,
            }
        )
    if learners:
        write_down(course_id, len(found), reason=reason, by=user)
    content: UndeliveredDocument = {
        "schema": SCHEMA,
        "at": now().isoformat(),
        "course": course_id,
        "applies": state.is_lms(),
        "looked_up": learners,
        "reason": reason,
        "by": user,
        "rows": found,
    }
    return Document(content=content, exit_code=ExitCode.DIFFERENCES if found else ExitCode.OK)


def write_down(course_id: str, number: int, *, reason: str, by: str, **beside: str) -> None:
    """
    Write a look-up of learners into the course's log; call it before they are named.

    Args:
        course_id: the course.
        number: how many learners are named.
        reason: why.
        by: who looks them up.
        beside: what else the log keeps of it.

    Raises:
        ShimError: the shim does not know the course.
    """
    with transaction.atomic():
        record = CoursePhase.objects.select_for_update().filter(course_id=course_id).first()
        if record is None:
            raise ShimError(f"The shim knows no course {course_id}.")
        PhaseChange.objects.append(
            record, Phase(record.phase), by=by, reason=reason, evidence={"looked_up": {"learners": number} | beside}
        )
        record.save()
