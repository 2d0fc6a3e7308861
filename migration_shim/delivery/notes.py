"""
What learners' states said is stored and counted here, in one transaction for a page of entries.

Most of it changes only an entry's learner columns and one place in a histogram, so only these are read, written and
counted. A learner who waits in vain is a divergence too, and such an entry is counted anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.utils.timezone import now

from ..core.data import DivergenceClass, PairStatus
from ..core.histograms import Learned, learner_bin
from ..db import bulk, bulk_update
from ..ledger import buckets, permits
from ..models import Divergence, LedgerEntry

#: Columns of an entry that must be, when the answer is stored, what they were when its learner was asked.
DEPENDS_ON = ("authority", "move", "target_submission_id", "legacy_id", "learner", "purged_at")
_WRITTEN = ("learner_said", "learner_correct", "learner_score", "learner_settled_at", "undeliverable")
_FOUND = ("result", "known", "divergences", "bucket_id")


class LearnerNote(NamedTuple):
    """What is to be stored of one entry; ``has`` is the grade in the learner's state, None keeps the stored one."""

    said: str
    undeliverable: str = ""
    settled: bool = False
    has: tuple[bool | None, float | None] | None = None


def store_notes(
    course_id: str,
    notes: Mapping[int, LearnerNote],
    in_vain: Mapping[int, str],
    read: Mapping[int, tuple[Any, ...]],
    moment: datetime,
) -> None:
    """
    Store notes. An entry that was changed since it was read keeps its columns; the next run looks at it again.

    Args:
        course_id: the course of all the entries.
        notes: the notes by entry.
        in_vain: those of the entries whose learners wait in vain, with what became of the row.
        read: by entry the values of ``DEPENDS_ON`` before its learner was asked, as the database returned them.
        moment: when the learners were asked.
    """
    if not notes:
        return
    end = 2 + len(DEPENDS_ON)
    changes = buckets.Changes()
    settled_at = connection.ops.adapt_datetimefield_value(moment)
    rows: dict[int, tuple[Any, ...]] = {}
    with transaction.atomic():
        if in_vain:
            permits.lock([course_id])
        columns = ("id", "bucket_id", *DEPENDS_ON, *Learned._fields)
        for row in bulk.select(LedgerEntry, columns, lock=True, id=list(notes)):
            pk, bucket = row[:2]
            if row[2:end] != read[pk]:
                continue
            old, one = Learned._make(row[end:]), notes[pk]
            has = one.has or (old.learner_correct, old.learner_score)
            rows[pk] = (one.said, *has, settled_at if one.settled else None, one.undeliverable)
            if bucket is not None and pk not in in_vain:
                _move(old, old._replace(learner_said=one.said, learner_correct=has[0], learner_score=has[1]), changes)
        if alarms := {pk: in_vain[pk] for pk in rows if pk in in_vain}:
            _raise(course_id, alarms, rows, changes)
        bulk_update.update(LedgerEntry, _WRITTEN, rows)
        changes.write()


def _move(old: Learned, new: Learned, changes: buckets.Changes) -> None:
    """Move an entry's count to the bin of what its learner has now."""
    for one, number in ((old, -1), (new, 1)):
        if (place := learner_bin(one)) is not None:
            changes.place([place], number)


def _raise(
    course_id: str, alarms: dict[int, str], rows: Mapping[int, tuple[Any, ...]], changes: buckets.Changes
) -> None:
    """Record alarms, and count their entries anew if they are counted; a new alarm withdraws the permit."""
    if _record(course_id, alarms):
        permits.withdraw([course_id])
    differs = buckets.differences_of(alarms)
    found = {}
    for pk, old in buckets.counted_entries(alarms).items():
        named = {*filter(None, old.row.divergences.split(",")), DivergenceClass.UNDELIVERED.value}
        result, divergences, bucket = PairStatus.DIVERGED, ",".join(sorted(named))[:255], old.bucket_id
        if bucket is not None:
            said, correct, score, *_ = rows[pk]
            learner = {"learner_said": said, "learner_correct": correct, "learner_score": score}
            new = old.row._replace(result=result, known="", divergences=divergences, **learner)
            bucket = changes.move(old, new, differs.get(pk))
        found[pk] = (result.value, "", divergences, bucket)
    bulk_update.update(LedgerEntry, _FOUND, found)


def _record(course_id: str, alarms: dict[int, str]) -> bool:
    """Record alarms, and return whether one of them is new, or was signed for and is found again."""
    rows = Divergence.objects.filter(entry__in=alarms, klass=DivergenceClass.UNDELIVERED)
    there = dict(rows.values_list("entry_id", "cured_at"))
    again = [pk for pk, cured_at in there.items() if cured_at is not None]
    moment = now()
    if again:
        rows.filter(entry__in=again).update(cured_at=None, found_at=moment)
    new = [
        Divergence(
            entry_id=pk,
            course_id=course_id,
            klass=DivergenceClass.UNDELIVERED,
            what=f"the learner waits, and {what}",
            found_at=moment,
        )
        for pk, what in alarms.items()
        if pk not in there
    ]
    Divergence.objects.bulk_create(new)
    return bool(new or again)
