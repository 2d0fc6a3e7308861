"""
The learner's side of every submission: does a learner wait in vain, and which grade does the learner have?

If a learner's state waits for a key whose row is not in flight any more, no answer will come, however the row ended:
that learner is ``undelivered``. Rows are read before states, so that a grade on its way is never taken for missing. A
row that has just ended is left alone, because its receiver may still be at work. See docs/decisions/0027.

Every submission is asked for once in its life, so this is kept cheap: rows are read as the database returns them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from django.utils.timezone import now

from ..conf import ShimSettings
from ..core.data import BETWEEN, Authority, Leg, Phase, State
from ..core.delivered import TRIES, Learner
from ..db import bulk
from ..ledger import attempts
from ..ledger.attempts import Submitted
from ..legacy import open_rows as legacy_open_rows
from ..legacy import timeouts
from ..lms import state
from ..models import CoursePhase, LedgerEntry
from ..target import score_events
from .notes import DEPENDS_ON, LearnerNote, store_notes
from .said import answer_of, call_takes

#: Entries looked at together.
PAGE = 500
_FINAL = frozenset(one.value for one in State if one.is_final)
_FAMILY = ("pk", "input_key", "raw_header", "authority", "move", "target_submission_id", "legacy_id")


def ask_learners(course_id: str, settings: ShimSettings, check: Callable[[], None]) -> None:
    """
    Ask the states of all learners of a course whose submissions are over and not settled, and store what they say.

    A page takes a constant number of statements (``state.AT_ONCE`` apart). Outside an LMS nothing is done. Every state
    is read once, when its row has been over for the grace; only a learner who waits then is asked again. If legacy's
    database is away, the submissions that the target answers for are asked about all the same.

    Args:
        course_id: the course, whose entries were just compared.
        settings: the settings in force.
        check: called before each page; it may raise to stop.

    Raises:
        The error of legacy's database, after all of the target's submissions were asked about; legacy's were not.
    """
    if not state.is_lms():
        return
    # On record: whether a flip by hand is obeyed is not decided by a comparison.
    phases = bulk.ask(f"SELECT phase FROM {CoursePhase._meta.db_table} WHERE course_id = %s", [course_id])
    target = any(Phase(phase).authority is Authority.TARGET for (phase,) in phases)
    after: int | None = 0
    away: Exception | None = None
    while after is not None and (page := _entries(course_id, after, settings, moment := now())):
        check()
        after = page[-1].pk if len(page) == PAGE else None
        asked = _Page(page, settings, moment, target=target, away=away)
        in_vain, away = asked.take_notes(), asked.away
        store_notes(course_id, asked.notes, in_vain, {entry.pk: entry[: len(DEPENDS_ON)] for entry in page}, moment)
    if away is not None:
        raise away


def has_unasked(course_id: str) -> bool:
    """Tell whether a learner of a course may still wait for the target's answer, whatever the course's phase is now."""
    entries = LedgerEntry.objects.filter(course_id=course_id, learner_settled_at=None, history=False)
    return state.is_lms() and entries.filter(authority=Authority.TARGET).exists()


class _Entry(NamedTuple):
    """
    What is read of an entry, as the database returns it: first ``DEPENDS_ON``, last how old it is.

    ``began_before`` and ``seen_before`` tell that it came, or was compared, so long ago that no process still works on
    it.
    """

    authority: str
    move: str
    target_submission_id: int | None
    legacy_id: int | None
    learner: str
    purged_at: object
    pk: int
    input_key: str
    arrived_at: datetime | str
    raw_header: str
    student_info: str
    legacy_leg: str
    legacy_state: str
    learner_said: str
    undeliverable: str
    delivery_tries: int
    settled: int
    began_before: int
    seen_before: int | None

    def __repr__(self) -> str:
        return f"<entry {self.pk}>"  # whoever has the header can post a grade


class _Attempt(NamedTuple):
    """What the other attempts at the same input need to know of an attempt."""

    pk: int
    input_key: str
    raw_header: str
    authority: str
    move: str
    target_submission_id: int | None
    legacy_id: int | None

    def __repr__(self) -> str:
        return f"<attempt {self.pk}>"


#: The columns of ``_Entry`` but its last three, which are worked out.
_READ = ", ".join(["id" if name == "pk" else name for name in _Entry._fields[:-3]])
_TO_ASK = (
    f"SELECT {_READ}, settled_at IS NOT NULL, COALESCE(moved_at, arrived_at) <= %s, compared_at <= %s"
    f" FROM {LedgerEntry._meta.db_table} WHERE course_id = %s AND learner_settled_at IS NULL AND NOT history"
    " AND id > %s ORDER BY id LIMIT %s"
)


def _entries(course_id: str, after: int, settings: ShimSettings, moment: datetime) -> list[_Entry]:
    """Return the next page of entries whose learners are to be asked."""
    grace = timedelta(seconds=settings.delivery_grace_seconds)
    # XQueue writes down no time of a supersession: the comparison that has seen the end did.
    patience = max(grace, timedelta(seconds=settings.late_reply_seconds))
    parameters = [moment - grace, moment - patience, course_id, after, PAGE]
    return [_Entry._make(row) for row in bulk.ask(_TO_ASK, parameters)]


class _Page:
    """Some entries, with their rows and their learners' states; ``notes`` is what is to be noted of them."""

    def __init__(
        self, page: list[_Entry], settings: ShimSettings, moment: datetime, *, target: bool, away: Exception | None
    ) -> None:
        self.page, self.settings, self.target = page, settings, target
        self.call_takes = call_takes(settings)
        self.notes: dict[int, LearnerNote] = {}
        self.family = _families({entry.input_key for entry in page} - {""})
        known: list[_Entry | _Attempt] = [*page, *(one for family in self.family.values() for one in family)]
        # Rows first: what ends after this is in flight here, whatever its learner's state says by then.
        grace = timedelta(seconds=settings.delivery_grace_seconds)
        self.rows = score_events.progress_of(
            {one.target_submission_id or 0 for one in known} - {0}, since=moment - grace
        )
        theirs = {one.legacy_id or 0 for one in known if one.authority == Authority.LEGACY} - {0}
        self.away, self.open = away, theirs  # rows that could not be asked about may be in flight
        if theirs and away is None:
            try:
                self.open = legacy_open_rows.ids_unretired(theirs)
            except timeouts.AWAY as error:
                self.away = error
        if self.away is not None:
            self.page = [entry for entry in page if entry.authority != Authority.LEGACY]

    def take_notes(self) -> dict[int, str]:
        """Fill ``notes`` with what the states say; return by id the undelivered ones, with what became of the row."""
        over: list[tuple[_Entry, Submitted | None]] = []
        for entry in self.page:
            if self._is_over(entry):
                over.append((entry, attempts.submitted(entry.raw_header, entry.student_info, entry.learner)))
            elif entry.learner_said == Learner.WAITS:
                self.notes[entry.pk] = LearnerNote("")  # its row is in flight again
        states = state.problems({one.place for _, one in over if one is not None and not one.plot})
        waiting = []
        for entry, one in over:
            said, has = answer_of(
                one,
                states,
                graded=self._is_graded(entry),
                newest=self._is_newest(entry),
                arrived_at=entry.arrived_at,
                call_takes=self.call_takes,
                forgotten=not entry.raw_header,
            )
            if said is not Learner.WAITS:
                self._settle(entry, said, has)
            elif one is not None and not self._has_another_row(entry, one.key):
                if entry.authority == Authority.TARGET or self.target:
                    waiting.append(entry)
                else:
                    self._settle(entry, said)  # legacy's own loss, in a phase of legacy's: told, and no reason
        return self._undelivered(waiting)

    def _is_over(self, entry: _Entry) -> bool:
        """Tell whether a submission is over: no process works on it, and its learner should have the grade by now."""
        if entry.move in BETWEEN:
            return False  # a move comes to its end first
        if entry.authority == Authority.TARGET:
            row = self.rows.get(entry.target_submission_id or 0)
            return bool(entry.began_before) if row is None else row.rests
        if entry.legacy_id in self.open:
            return False
        if entry.legacy_leg != Leg.STORED or entry.settled:
            return bool(entry.settled)
        return entry.legacy_state in _FINAL and bool(entry.seen_before)

    def _is_newest(self, entry: _Entry) -> bool:
        family = self.family.get(entry.input_key)
        return not family or family[-1].pk == entry.pk

    def _is_graded(self, entry: _Entry) -> bool:
        if entry.authority == Authority.LEGACY:
            return entry.legacy_state == State.GRADED
        row = self.rows.get(entry.target_submission_id or 0)
        return row is not None and row.graded

    def _has_another_row(self, entry: _Entry, key: str) -> bool:
        """Tell whether another attempt with the same key (two tabs in one second) is in flight: its grade will come."""
        for one in self.family.get(entry.input_key, ()):
            if one.pk != entry.pk and one.raw_header and attempts.key_of(one) == key:
                row = self.rows.get(one.target_submission_id or 0)
                real = one.authority == Authority.TARGET and row is not None and row.in_flight
                if real or one.move in BETWEEN or one.legacy_id in self.open:
                    return True
        return False

    def _settle(self, entry: _Entry, said: Learner, has: tuple[bool | None, float | None] | None = None) -> None:
        gone = said in (Learner.UNREADABLE, Learner.FORGOTTEN)
        if gone and entry.learner_said == Learner.WAITS and entry.authority == Authority.TARGET:
            # It waited when it was asked last, and cannot be asked any more.
            if entry.undeliverable != said:
                self.notes[entry.pk] = LearnerNote(Learner.WAITS.value, said.value)
            return
        self.notes[entry.pk] = LearnerNote(said.value, settled=True, has=has)

    def _undelivered(self, waiting: list[_Entry]) -> dict[int, str]:
        """Return by id those who wait in vain, with what became of the row; note why no delivery can help some."""
        graded = {
            entry.target_submission_id or 0
            for entry in waiting
            if entry.authority == Authority.TARGET and self._is_graded(entry)
        }
        valid = score_events.with_valid_reply(graded) if graded else set()
        found = {}
        for entry in waiting:
            row = self.rows.get(entry.target_submission_id or 0)
            if entry.authority == Authority.LEGACY:
                what, why = "legacy's row is over", "legacy_is_over"
            elif row is None:
                what, why = "its row is gone", "row_gone"
            elif row.failed:
                what, why = "its row has failed", "" if self.settings.tell_learner_of_failure else "failed"
            elif row.graded:
                what, why = "its result is stored", "" if entry.target_submission_id in valid else "reply_invalid"
            else:
                what, why = "its row was superseded", ""
            found[entry.pk] = what
            # Of the row as it is now: one that was put back, or moved, may have come to another end since.
            why = why or ("three_deliveries" if entry.delivery_tries >= TRIES else "")
            self.notes[entry.pk] = LearnerNote(Learner.WAITS.value, why)
        return found


def _families(keys: set[str]) -> dict[str, list[_Attempt]]:
    """Return all attempts at the given inputs in their order, by input; inputs with a single attempt are left out."""
    number = Counter(key for (key,) in bulk.select(LedgerEntry, ("input_key",), input_key=keys))
    found: dict[str, list[_Attempt]] = defaultdict(list)
    if not (keys := {key for key, times in number.items() if times > 1}):
        return found
    several = LedgerEntry.objects.filter(input_key__in=keys)
    for row in bulk.raw(several.order_by("arrived_at", "pk").values_list(*_FAMILY)):
        found[row[1]].append(_Attempt._make(row))
    return found
