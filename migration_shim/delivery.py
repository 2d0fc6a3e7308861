"""
The learner's side of every submission: whether anybody is still at work for one who waits, and what the others have.

A key that a learner's state waits for, and whose row is not in flight any more, is answered by nobody: however the row
ended, that learner is ``undelivered``. Rows are read before states, so that a grade on its way is never taken for
missing; and a row that has just ended is left alone, because its receiver may be at work. See docs/decisions/0027.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.utils.timezone import now

from . import attempts, buckets, multirow, permits
from .attempts import Submitted
from .conf import ShimSettings
from .core.delivered import TRIES, Learner, comparable
from .data import BETWEEN, Authority, DivergenceClass, Leg, PairStatus, Phase, State
from .legacy import in_flight as on_legacy
from .legacy import limits
from .lms import state
from .models import CoursePhase, Divergence, LedgerEntry
from .target import delivering

#: Entries looked at together; each may bring the whole of a learner's state.
PAGE = 200
_FINAL = [one.value for one in State if one.is_final]
_WRITTEN = ("learner_said", "learner_correct", "learner_score", "learner_settled_at", "undeliverable")
_FOUND = (*_WRITTEN, "result", "known", "divergences")
_DEPENDS_ON = ("authority", "move", "target_submission_id", "legacy_id")
_FAMILY = ("pk", "input_key", "arrived_at", "raw_header", "authority", "move", "target_submission_id", "legacy_id")


def look(course_id: str, settings: ShimSettings, check: Callable[[], None]) -> None:
    """
    Ask the states of all learners of a course whose submissions are over and not settled, and store what they say.

    A page takes a constant number of statements. Outside an LMS there is nobody to ask. Every state is read once, when
    its row has been over for the grace; only who waits then is asked again. Where legacy's database is away, what the
    target answers for is looked at all the same.

    Args:
        course_id: the course, whose entries were just compared.
        settings: the settings in force.
        check: called before each page; it may raise to stop.

    Raises:
        whatever legacy's database did, once all of the target's were looked at: legacy's own were not.
    """
    if not state.is_lms():
        return
    entries = LedgerEntry.objects.filter(course_id=course_id, learner_settled_at=None, history=False)
    entries = entries.defer("grader_payload", "extra_body").order_by("id")
    # On record: whether a flip by hand is obeyed is not decided by a comparison.
    record = CoursePhase.objects.filter(course_id=course_id).first()
    target = record is not None and Phase(record.phase).authority is Authority.TARGET
    after, away = 0, None
    while page := list(entries.filter(id__gt=after)[:PAGE]):
        check()
        after = page[-1].pk
        before = {entry.pk: tuple(getattr(entry, name) for name in _DEPENDS_ON) for entry in page}
        said = {entry.pk: _said(entry) for entry in page}
        looked = _Page(page, settings, target=target, away=away)
        found, away = looked.look(), looked.away
        changed = [entry for entry in page if entry.learner_settled_at or _said(entry) != said[entry.pk]]
        _store(course_id, {entry.pk: entry for entry in [*changed, *found]}, found, before)
    if away is not None:
        raise away


def has_unasked(course_id: str) -> bool:
    """Whether a learner of a course may wait for the target's answer, in whatever phase the course is by now."""
    entries = LedgerEntry.objects.filter(course_id=course_id, learner_settled_at=None, history=False)
    return state.is_lms() and entries.filter(authority=Authority.TARGET).exists()


def _said(entry: LedgerEntry) -> tuple[str, str]:
    return entry.learner_said, entry.undeliverable


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An attempt at an input, as far as others have to know of it."""

    pk: int
    input_key: str
    arrived_at: datetime
    raw_header: str
    authority: str
    move: str
    target_submission_id: int | None
    legacy_id: int | None


class _Page:
    """Some entries, with their rows and their learners' states."""

    def __init__(
        self, page: list[LedgerEntry], settings: ShimSettings, *, target: bool, away: Exception | None
    ) -> None:
        self.page, self.settings, self.target, self.moment = page, settings, target, now()
        keys = {entry.input_key for entry in page} - {""}
        self.family: dict[str, list[_Attempt]] = defaultdict(list)
        for row in LedgerEntry.objects.filter(input_key__in=keys).order_by("arrived_at", "pk").values_list(*_FAMILY):
            self.family[row[1]].append(_Attempt(*row))
        known = [*page, *(one for family in self.family.values() for one in family)]
        # Rows first: what ends after this is in flight here, whatever its learner's state says by then.
        self.rows = delivering.rows({one.target_submission_id for one in known} - {None})
        theirs = {one.legacy_id for one in known if one.authority == Authority.LEGACY} - {None}
        self.away, self.open = away, theirs  # those whom nobody could ask about may be at work
        if theirs and away is None:
            try:
                self.open = on_legacy.unretired(theirs)
            except limits.AWAY as error:
                self.away = error
        if self.away is not None:
            self.page = [entry for entry in page if entry.authority != Authority.LEGACY]

    def look(self) -> dict[LedgerEntry, str]:
        """Take note of what the states say, on the entries; those that are undelivered, and what became of the row."""
        over = {entry: self._submitted(entry) for entry in self.page if self._is_over(entry)}
        for entry in self.page:
            if entry not in over and entry.learner_said == Learner.WAITS:
                entry.learner_said, entry.undeliverable = "", ""  # somebody is at work again
        states = state.problems({one.place for one in over.values() if one is not None and not one.plot})
        waiting = []
        for entry, one in over.items():
            said = self._say(entry, one, states)
            if said is not Learner.WAITS:
                self._settle(entry, said)
            elif not self._has_another_row(entry, one.key):
                entry.learner_said = said
                if entry.authority == Authority.TARGET or self.target:
                    waiting.append(entry)
                else:
                    self._settle(entry, said)  # legacy's own loss, in a phase of legacy's: told, and no reason
        return self._undelivered(waiting)

    def _is_over(self, entry: LedgerEntry) -> bool:
        """Whether nobody is at work on a submission any more, and its learner should have the grade by now."""
        grace = timedelta(seconds=self.settings.delivery_grace_seconds)
        if entry.move in BETWEEN:
            return False  # a move comes to its end first
        if entry.authority == Authority.TARGET:
            row = self.rows.get(entry.target_submission_id or 0)
            if row is None:
                return (entry.moved_at or entry.arrived_at) <= self.moment - grace
            return not row.in_flight and row.since <= self.moment - grace
        if entry.legacy_leg != Leg.STORED or entry.settled_at is not None:
            return entry.settled_at is not None and entry.legacy_id not in self.open
        # XQueue writes down no time of a supersession: the comparison that has seen the end did.
        patience = max(grace, timedelta(seconds=self.settings.late_reply_seconds))
        final = entry.legacy_state in _FINAL and entry.compared_at is not None
        return final and entry.compared_at <= self.moment - patience and entry.legacy_id not in self.open

    @staticmethod
    def _submitted(entry: LedgerEntry) -> Submitted | None:
        return attempts.submitted(entry.raw_header, entry.student_info, entry.learner)

    def _say(self, entry: LedgerEntry, one: Submitted | None, states: dict[state.Place, state.Problem]) -> Learner:
        if one is None:
            return Learner.INPUT_UNKNOWN if entry.raw_header else Learner.FORGOTTEN
        if one.plot:
            return Learner.PLOT
        problem = states.get(one.place)
        if problem is None:
            return Learner.NO_LEARNER
        if problem.unreadable:
            return Learner.UNREADABLE
        if problem.waits_for(one.key):
            return Learner.WAITS
        if one.answer_id is None:
            return Learner.INPUT_UNKNOWN
        held = problem.inputs.get(one.answer_id)
        said = comparable(
            graded=self._is_graded(entry),
            newest=self._is_newest(entry) and (held is None or held.key is None),
            submitted_at=problem.submitted_at,
            called_at=entry.arrived_at,
            call_takes=timedelta(seconds=max(self.settings.python_door_seconds, self.settings.http_door_seconds)),
            answered=held is not None,
        )
        if said is Learner.COMPARABLE:
            entry.learner_correct, entry.learner_score = held.correct, held.score
        return said

    def _is_newest(self, entry: LedgerEntry) -> bool:
        family = self.family.get(entry.input_key)
        return not family or family[-1].pk == entry.pk

    def _is_graded(self, entry: LedgerEntry) -> bool:
        if entry.authority == Authority.LEGACY:
            return entry.legacy_state == State.GRADED
        row = self.rows.get(entry.target_submission_id or 0)
        return row is not None and row.graded

    def _has_another_row(self, entry: LedgerEntry, key: str) -> bool:
        """Whether another attempt with the same key (two tabs in one second) is in flight: its grade is awaited."""
        for one in self.family.get(entry.input_key, ()):
            if one.pk != entry.pk and one.raw_header and attempts.key_of(one) == key:
                row = self.rows.get(one.target_submission_id or 0)
                real = one.authority == Authority.TARGET and row is not None and row.in_flight
                if real or one.move in BETWEEN or one.legacy_id in self.open:
                    return True
        return False

    def _settle(self, entry: LedgerEntry, said: Learner) -> None:
        gone = said in (Learner.UNREADABLE, Learner.FORGOTTEN)
        if gone and entry.learner_said == Learner.WAITS and entry.authority == Authority.TARGET:
            entry.undeliverable = said.value  # it waited when it was asked last, and nobody can ask any more
            return
        entry.learner_said, entry.undeliverable, entry.learner_settled_at = said.value, "", self.moment

    def _undelivered(self, waiting: list[LedgerEntry]) -> dict[LedgerEntry, str]:
        """Those who wait in vain, with what became of the row; and at once those whom no delivery can help."""
        graded = {
            entry.target_submission_id
            for entry in waiting
            if entry.authority == Authority.TARGET and self._is_graded(entry)
        }
        valid = delivering.with_valid_reply(graded) if graded else set()
        found = {}
        for entry in waiting:
            row = self.rows.get(entry.target_submission_id or 0)
            if entry.authority == Authority.LEGACY:
                found[entry], why = "legacy's row is over", "legacy_is_over"
            elif row is None:
                found[entry], why = "its row is gone", "row_gone"
            elif row.failed:
                found[entry] = "its row has failed"
                why = "" if self.settings.tell_learner_of_failure else "failed"
            elif row.graded:
                found[entry] = "its result is stored"
                why = "" if entry.target_submission_id in valid else "reply_invalid"
            else:
                found[entry], why = "its row was superseded", ""
            # Of the row as it is now: one that was put back, or moved, may have come to another end since.
            entry.undeliverable = why or ("three_deliveries" if entry.delivery_tries >= TRIES else "")
        return found


def _store(
    course_id: str, changed: dict[int, LedgerEntry], found: dict[LedgerEntry, str], before: dict[int, tuple[Any, ...]]
) -> None:
    """Write it down. An entry that was moved since it was read keeps what it has; the next run looks at it again."""
    if not changed:
        return
    with transaction.atomic():
        if found:
            permits.lock([course_id])
        there = {pk: old for pk, old in buckets.stored(changed, *_DEPENDS_ON).items() if old.also == before[pk]}
        alarms = [entry for pk, entry in changed.items() if pk in there and entry in found]
        if alarms and _record(course_id, {entry: found[entry] for entry in alarms}):
            permits.withdraw([course_id])
        changes = buckets.Changes()
        quiet = {pk: changed[pk] for pk in there if changed[pk] not in found}
        _write(quiet, _WRITTEN, there, changes)
        _write({entry.pk: entry for entry in alarms}, _FOUND, there, changes)
        changes.write()


def _write(
    entries: dict[int, LedgerEntry],
    names: tuple[str, ...],
    there: dict[int, buckets.Stored],
    changes: buckets.Changes,
) -> None:
    """Write some columns of entries, and count those anew that are counted at all."""
    counted = [name for name in names if name in buckets.COLUMNS]
    differs = buckets.differences_of([pk for pk, one in entries.items() if one.divergences])
    fields = [LedgerEntry._meta.get_field(name) for name in names]
    rows = {}
    for pk, entry in entries.items():
        old, bucket = there[pk], there[pk].bucket_id
        if bucket is not None:
            new = old.row._replace(**{name: getattr(entry, name) for name in counted})
            bucket = changes.move(old, new, differs.get(pk))
        rows[pk] = (*(field.get_db_prep_save(getattr(entry, field.attname), connection) for field in fields), bucket)
    multirow.update(LedgerEntry, (*names, "bucket_id"), rows)


def _record(course_id: str, alarms: dict[LedgerEntry, str]) -> bool:
    """Put alarms on record; whether one of them is new. What was signed for and is found again counts anew."""
    rows = Divergence.objects.filter(entry__in=[entry.pk for entry in alarms], klass=DivergenceClass.UNDELIVERED)
    there = {row.entry_id: row.cured_at for row in rows}
    again = [pk for pk, cured_at in there.items() if cured_at is not None]
    moment = now()
    if again:
        rows.filter(entry__in=again).update(cured_at=None, found_at=moment)
    new = [
        Divergence(
            entry=entry,
            course_id=course_id,
            klass=DivergenceClass.UNDELIVERED,
            what=f"the learner waits, and {what}",
            found_at=moment,
        )
        for entry, what in alarms.items()
        if entry.pk not in there
    ]
    Divergence.objects.bulk_create(new)
    for entry in alarms:
        named = {*filter(None, entry.divergences.split(",")), DivergenceClass.UNDELIVERED.value}
        entry.result, entry.known, entry.divergences = PairStatus.DIVERGED, "", ",".join(sorted(named))[:255]
    return bool(new or again)
