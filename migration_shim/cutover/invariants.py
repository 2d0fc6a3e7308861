"""
Checks of what must never be: fence leaks, double authority, submissions on the wrong side, undelivered grades.

The data is read as it is now. Where it takes a reconcile to see something, its record is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import Count, Q, QuerySet

from ..conf import load
from ..core.data import GRAVE, Authority, DivergenceClass, Move, State
from ..core.delivered import Learner
from ..core.identity import has_suffix
from ..db import bulk
from ..ledger import attempts, counts
from ..ledger.copies_queues import CopiesQueues
from ..legacy import open_rows as legacy_open_rows
from ..legacy import rows as legacy_rows
from ..legacy import timeouts
from ..lms import state as lms_state
from ..models import Bucket, CoursePhase, Divergence, LedgerEntry
from ..runs import records as run_records
from ..target import open_rows, reader

#: Moves after which graders of the target have had the submission.
_REACHED_TARGET = [move for move in Move if move not in (Move.NONE, Move.HELD, Move.FENCED)]

_ALARMS = f"SELECT entry_id FROM {Divergence._meta.db_table} WHERE course_id = %s AND klass = %s AND cured_at IS NULL"


def current_fence_leak_count(course_id: str) -> int | None:
    """
    Count the copies that lack part of their fence on either system at this moment, with or without a ledger entry.

    None where legacy's database does not answer. Copies that are graded and stood on a queue that is not theirs are
    left to the record: no grader gets them any more.
    """
    there_now = _half_fenced_or_reverse(course_id)
    return None if there_now is None else there_now + len(_on_wrong_queues(course_id, None))


def _half_fenced_or_reverse(course_id: str) -> int | None:
    names = counts.queues(course_id)
    suffix = load().reverse_queue_suffix
    try:
        reverse = legacy_open_rows.count_naming(course_id, [name + suffix for name in names])
    except timeouts.AWAY:
        return None
    return reader.half_fenced(course_id) + reverse


def _on_wrong_queues(course_id: str, since: datetime | None) -> set[int]:
    """
    Return the Submission ids of copies on a queue of learners' own rows, of any course, and of copies without a fence.

    Unfinished ones; on the course's own queues, with ``since``, those that were finished since then as well.
    """
    settings = load()
    real = counts.queues(course_id)
    own = (settings.shadow_queue_suffix, settings.echo_queue_suffix)
    of_course = [*real, *(name + suffix for name in real for suffix in own)]
    # Other courses' queues of copies are left out: they may be long, and what is fenced reaches nobody from there.
    others = [name for name in open_rows.queue_names() if name not in of_course and not has_suffix(name, own)]
    rows = reader.rows_on_queues(course_id, of_course, since=since)
    if others:
        rows += reader.rows_on_queues(course_id, others, since=None)
    queues = CopiesQueues(settings)

    def is_misplaced(name: str, *, fenced: bool) -> bool:
        of_now = has_suffix(name, own)
        return not (of_now or any(queues.are_for(queue, name) for queue in real)) if fenced else of_now

    found = {row.submission_id for row in rows if is_misplaced(row.queue_name, fenced=row.fenced)}
    # Of a row without any fence, on a queue of learners' own, only the ledger tells whether it is a copy.
    unfenced = [row.submission_id for row in rows if not row.fenced and row.submission_id not in found]
    for start in range(0, len(unfenced), counts.PAGE):
        page = unfenced[start : start + counts.PAGE]
        copies = LedgerEntry.objects.filter(target_submission_id__in=page, authority=Authority.LEGACY)
        found.update(pk for pk in copies.values_list("target_submission_id", flat=True) if pk is not None)
    return found


def _last_look(course_id: str) -> datetime | None:
    """Return from when on no complete reconcile has looked at what changed; None where the ledger has no entry."""
    looked = run_records.last_complete("reconcile", course_id)
    if looked is not None and "watermark" in looked.document:
        overlap = timedelta(seconds=load().overlap_seconds)
        return datetime.fromisoformat(looked.document["watermark"]) - overlap
    entries = LedgerEntry.objects.filter(course_id=course_id).order_by("id")
    return entries.values_list("created_at", flat=True).first()


def grave_on_record(course_id: str) -> Counter[DivergenceClass]:
    """Count the grave divergences of a course without a cure, by class; those that a stopped run found included."""
    rows = Divergence.objects.filter(course_id=course_id, klass__in=GRAVE, cured_at=None).order_by()
    found = Counter(
        {DivergenceClass(klass): number for klass, number in rows.values_list("klass").annotate(Count("id"))}
    )
    # A handoff flags entries too, and that counts before the next reconcile.
    found[DivergenceClass.DOUBLE_AUTHORITY] = double_authority_entries(course_id).count()
    return found


def double_authority_entries(course_id: str) -> QuerySet[LedgerEntry]:
    """Return the entries of a course that both systems had for real and that no cure covers."""
    seen = Divergence.objects.filter(course_id=course_id, klass=DivergenceClass.DOUBLE_AUTHORITY, cured_at=None)
    flagged = LedgerEntry.objects.filter(double_authority=True, course_id=course_id)
    # Two queries, each by its own index: with both in one condition the database reads the whole course.
    ids = {*seen.values_list("entry_id", flat=True), *flagged.values_list("pk", flat=True)}
    return LedgerEntry.objects.filter(pk__in=ids)


def lost_count(course_id: str) -> int:
    """Count the submissions and scores of a course on record as lost for which nobody has signed."""
    return Divergence.objects.filter(course_id=course_id, klass=DivergenceClass.LOST, cured_at=None).count()


def wrong_side_count(course_id: str) -> int:
    """Count the submissions that reached legacy while the target was authoritative and wait there for a handoff."""
    return _on_the_wrong_side(course_id).count()


def current_wrong_side_count(course_id: str) -> int | None:
    """Count the submissions on the wrong side whose row legacy still has; None where legacy does not answer."""
    known = _on_the_wrong_side(course_id).values_list("entry__legacy_id", flat=True)
    ids = [legacy_id for legacy_id in known if legacy_id is not None]
    try:
        return len(legacy_rows.existing(ids)) if ids else 0
    except timeouts.AWAY:
        return None


def undelivered_entries(course_id: str) -> QuerySet[LedgerEntry]:
    """Return the entries whose learners waited in vain when their states were last read, and that no cure covers."""
    # Few; outside an LMS no learner is ever settled. Mostly there is none, and then nothing more is to be asked.
    ids = [pk for (pk,) in bulk.ask(_ALARMS, [course_id, DivergenceClass.UNDELIVERED])]
    if not ids:
        return LedgerEntry.objects.none()
    return LedgerEntry.objects.filter(pk__in=ids, learner_settled_at=None, learner_said=Learner.WAITS)


def learner_states_unread(course_id: str) -> bool:
    """Return whether learners may wait for the target while no complete reconcile has read their states."""
    own = LedgerEntry.objects.filter(course_id=course_id, learner_settled_at=None, history=False)
    if not lms_state.is_lms() or not own.filter(authority=Authority.TARGET).exists():
        return False
    looked = run_records.last_complete("reconcile", course_id)
    return looked is None or not looked.document.get("learners", {}).get("applies")


def still_waiting(entries: Iterable[LedgerEntry]) -> set[int] | None:
    """Return the ids of the entries whose learners wait at this moment; None where the state of one is unreadable."""
    wanted = {entry.pk: attempts.submitted(entry.raw_header, entry.student_info, entry.learner) for entry in entries}
    states = lms_state.problems({one.place for one in wanted.values() if one is not None})
    found = set()
    for pk, one in wanted.items():
        problem = states.get(one.place) if one is not None else None
        if one is None or (problem is not None and problem.unreadable):
            return None
        if problem is not None and problem.waits_for(one.key):
            found.add(pk)
    return found


def waits_on_legacy() -> Q:
    """Return a condition on divergences: the submission is legacy's, was not moved, and is not answered."""
    final = [one.value for one in State if one.is_final]
    here = Q(entry__authority=Authority.LEGACY, entry__move=Move.NONE)
    return here & ~Q(entry__legacy_state__in=final)


def _on_the_wrong_side(course_id: str) -> QuerySet[Divergence]:
    rows = Divergence.objects.filter(course_id=course_id, klass=DivergenceClass.WRONG_SIDE, cured_at=None)
    return rows.filter(waits_on_legacy())


def fence_leak_count(course_id: str) -> int | None:
    """
    Count the fence leaks of a course; None where legacy does not answer.

    They are those on record without a cure, those that are there now, and those that no reconcile has looked at yet.
    """
    there_now = _half_fenced_or_reverse(course_id)
    if there_now is None:
        return None
    record = CoursePhase.objects.filter(course_id=course_id).first()
    on_record = Divergence.objects.filter(course_id=course_id, klass=DivergenceClass.FENCE_LEAK, cured_at=None)
    known = set(on_record.values_list("entry__target_submission_id", flat=True))
    new = _on_wrong_queues(course_id, _last_look(course_id)) - known
    found = on_record.count() + there_now + len(new)
    return max(found, record.fence_leaks if record else 0, _last_count(course_id, "fence_leaks") or 0)


def double_authority_count(course_id: str) -> int | None:
    """
    Count the submissions of a course that both systems had for real; None where that cannot be told.

    Only a reconcile sees all rows, and one must have begun since the course is in its phase. Where nothing of the
    course was ever the target's own, the count is 0 without one.
    """
    said = _last_count(course_id, "double_authority")
    found = max(double_authority_entries(course_id).count(), said or 0)
    if found or not _was_the_targets(course_id):
        return found
    record = CoursePhase.objects.filter(course_id=course_id).first()
    looked = run_records.last_complete("reconcile", course_id)
    late = looked is None or (record is not None and looked.started_at < record.since)
    return None if late else said


def _was_the_targets(course_id: str) -> bool:
    """Return whether any submission of a course is or was the target's own."""
    moved = LedgerEntry.objects.filter(course_id=course_id, move__in=_REACHED_TARGET)
    compared = Bucket.objects.filter(course_id=course_id, authority=Authority.TARGET).exclude(number=0)
    loose = counts.loose_of(course_id).filter(authority=Authority.TARGET)
    return compared.exists() or loose.exists() or moved.exists()


def _last_count(course_id: str, key: str) -> int | None:
    """Return a count of the last complete reconcile; None where there was none, or its document lacks the key."""
    looked = run_records.last_complete("reconcile", course_id)
    return looked.document.get(key) if looked else None
