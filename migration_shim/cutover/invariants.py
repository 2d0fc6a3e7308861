"""What must never be, asked of the data: copies that could reach a learner, rows that both systems have for real."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from django.db.models import Count, Q, QuerySet

from ..conf import load
from ..core.data import GRAVE, Authority, DivergenceClass, Move, State
from ..core.delivered import Learner
from ..ledger import attempts, counts
from ..legacy import open_rows as legacy_open_rows
from ..legacy import rows as legacy_rows
from ..legacy import timeouts
from ..lms import state
from ..models import Bucket, CoursePhase, Divergence, LedgerEntry
from ..runs import records as run_records
from ..target import reader

#: Graders of the target have had these.
_TARGETS = [move for move in Move if move not in (Move.NONE, Move.HELD, Move.FENCED)]


def current_fence_leaks(course_id: str) -> int | None:
    """
    How many copies stand on either system now without their whole fence, whether an entry knows them or not.

    None where legacy's database does not answer: nobody knows then.
    """
    names = counts.queues(course_id)
    suffix = load().reverse_queue_suffix
    try:
        reverse = legacy_open_rows.naming(course_id, [name + suffix for name in names])
    except timeouts.AWAY:
        return None
    return reader.half_fenced(course_id) + reverse


def grave_on_record(course_id: str) -> Counter[DivergenceClass]:
    """The grave divergences of a course that nobody has signed for, by class: what a stopped run has found counts."""
    rows = Divergence.objects.filter(course_id=course_id, klass__in=GRAVE, cured_at=None).order_by()
    found = Counter(
        {DivergenceClass(klass): number for klass, number in rows.values_list("klass").annotate(Count("id"))}
    )
    # What a handoff has seen since the last reconcile counts at once.
    found[DivergenceClass.DOUBLE_AUTHORITY] = double_authority_entries(course_id).count()
    return found


def double_authority_entries(course_id: str) -> QuerySet[LedgerEntry]:
    """The entries of a course that both systems have had for real, and that nobody has signed for."""
    seen = Divergence.objects.filter(course_id=course_id, klass=DivergenceClass.DOUBLE_AUTHORITY, cured_at=None)
    flagged = LedgerEntry.objects.filter(double_authority=True, course_id=course_id)
    # Each by its own index: for both in one condition the database would read the whole course.
    ids = {*seen.values_list("entry_id", flat=True), *flagged.values_list("pk", flat=True)}
    return LedgerEntry.objects.filter(pk__in=ids)


def wrong_side(course_id: str) -> int:
    """How many submissions reached legacy while the target was authoritative, and wait there: a handoff takes them."""
    return _on_the_wrong_side(course_id).count()


def current_wrong_side(course_id: str) -> int | None:
    """How many of these legacy has to this day: what has vanished waits for nobody. None where it does not answer."""
    known = _on_the_wrong_side(course_id).values_list("entry__legacy_id", flat=True)
    ids = [legacy_id for legacy_id in known if legacy_id is not None]
    try:
        return len(legacy_rows.existing(ids)) if ids else 0
    except timeouts.AWAY:
        return None


def undelivered_entries(course_id: str) -> QuerySet[LedgerEntry]:
    """The entries whose learners waited in vain when their states were asked last, and that nobody has signed for."""
    alarms = Divergence.objects.filter(course_id=course_id, klass=DivergenceClass.UNDELIVERED, cured_at=None)
    ids = list(alarms.values_list("entry_id", flat=True))  # few, and outside an LMS nobody else's learner is settled
    return LedgerEntry.objects.filter(pk__in=ids, learner_settled_at=None, learner_said=Learner.WAITS)


def learners_unasked(course_id: str) -> bool:
    """Whether learners may wait for the target, and no complete reconcile says that their states were asked."""
    own = LedgerEntry.objects.filter(course_id=course_id, learner_settled_at=None, history=False)
    if not state.is_lms() or not own.filter(authority=Authority.TARGET).exists():
        return False
    looked = run_records.last_complete("reconcile", course_id)
    return looked is None or not looked.document.get("learners", {}).get("applies")


def still_waiting(entries: Iterable[LedgerEntry]) -> set[int] | None:
    """Those of these entries whose learners wait at this moment; None where one of their states cannot be read."""
    wanted = {entry.pk: attempts.submitted(entry.raw_header, entry.student_info, entry.learner) for entry in entries}
    states = state.problems({one.place for one in wanted.values() if one is not None})
    found = set()
    for pk, one in wanted.items():
        problem = states.get(one.place) if one is not None else None
        if one is None or (problem is not None and problem.unreadable):
            return None
        if problem is not None and problem.waits_for(one.key):
            found.add(pk)
    return found


def waits_on_legacy() -> Q:
    """Of divergences: those whose submission legacy has, neither moved nor answered."""
    final = [state.value for state in State if state.is_final]
    here = Q(entry__authority=Authority.LEGACY, entry__move=Move.NONE)
    return here & ~Q(entry__legacy_state__in=final)


def _on_the_wrong_side(course_id: str) -> QuerySet[Divergence]:
    rows = Divergence.objects.filter(course_id=course_id, klass=DivergenceClass.WRONG_SIDE, cured_at=None)
    return rows.filter(waits_on_legacy())


def fence_leaks(course_id: str) -> int | None:
    """All leaks of a course: on record and not signed for, or there now. None where that cannot be told."""
    now_there = current_fence_leaks(course_id)
    if now_there is None:
        return None
    record = CoursePhase.objects.filter(course_id=course_id).first()
    found = grave_on_record(course_id)[DivergenceClass.FENCE_LEAK] + now_there
    return max(found, record.fence_leaks if record else 0, _said(course_id, "fence_leaks") or 0)


def double_authority_count(course_id: str) -> int | None:
    """
    The submissions of a course that both systems have had for real. None where that cannot be told.

    Only a reconcile sees it of all rows. Where nothing of the course was ever the target's own there is nothing to see;
    else one must have looked since the course is in its phase.
    """
    said = _said(course_id, "double_authority")
    found = max(double_authority_entries(course_id).count(), said or 0)
    if found or not _was_the_targets(course_id):
        return found
    record = CoursePhase.objects.filter(course_id=course_id).first()
    looked = run_records.last_complete("reconcile", course_id)
    late = looked is None or (record is not None and looked.started_at < record.since)
    return None if late else said


def _was_the_targets(course_id: str) -> bool:
    """Whether anything of a course is or was the target's own."""
    moved = LedgerEntry.objects.filter(course_id=course_id, move__in=_TARGETS)
    compared = Bucket.objects.filter(course_id=course_id, authority=Authority.TARGET).exclude(number=0)
    loose = counts.loose_of(course_id).filter(authority=Authority.TARGET)
    return compared.exists() or loose.exists() or moved.exists()


def _said(course_id: str, key: str) -> int | None:
    """What the last complete reconcile has counted; None where there was none, or where it does not say."""
    looked = run_records.last_complete("reconcile", course_id)
    return looked.document.get(key) if looked else None
