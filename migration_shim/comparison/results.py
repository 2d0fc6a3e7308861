"""The results of a comparison are stored here, on the entries and as divergences; only what changed is written."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple

from django.db import connection, transaction

from ..core.data import DETERMINISTIC, GRAVE, Comparison, DivergenceClass, Move, Origin, Outcome, PairStatus, State
from ..db import bulk, bulk_insert, bulk_update, converted, text_columns
from ..db.retry import on_contention
from ..ledger import buckets, known_differences, permits
from ..models import Divergence, KnownDifference, LedgerEntry
from .candidates import DEPENDS_ON, Fingerprints
from .entries import Entry
from .legacy_outcomes import columns_of_reply

#: Entries written in one transaction: graders' sessions write to the same rows, and must not wait for more.
BATCH = 200
_STORED = (
    "result",
    "divergences",
    "known",
    "graded_pair",
    "legacy_state",
    "legacy_correct",
    "legacy_score",
    "legacy_seconds",
    "target_state",
    "target_correct",
    "target_score",
    "target_seconds",
    "target_graded_at",
    "payload_compared_at",
    "double_authority",
    *Fingerprints._fields,
)
#: Those of them that an entry is counted by. The other columns it is counted by are read under its lock.
_COUNTED = tuple(name for name in _STORED if name in buckets.COLUMNS)
_values, _dependencies = attrgetter(*_STORED), attrgetter(*DEPENDS_ON)
_counted = attrgetter(*_COUNTED)
_WRITTEN = (*_STORED, "bucket_id", "compared_at", "settled_at")
_written = attrgetter(*_WRITTEN)
_TIMES = [_WRITTEN.index(name) for name in ("target_graded_at", "payload_compared_at", "compared_at", "settled_at")]


class Difference(NamedTuple):
    """A divergence on record, or to be recorded: the columns of its row but the key."""

    entry_id: int
    course_id: str
    klass: str
    what: str
    found_at: datetime
    known_id: int | None
    cured_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairResult:
    """The result of one pair: its entry, the verdict, both outcomes, and the digests of what was compared."""

    entry: Entry
    result: Comparison
    legacy: Outcome
    target: Outcome
    seen: Fingerprints
    payload_at: datetime | None


def store_results(
    results: Iterable[PairResult], register: list[KnownDifference], moment: datetime, horizon: timedelta
) -> None:
    """
    Store the results that changed.

    An entry that another session (a grader, a handoff, a link) has changed since it was read keeps its result: what was
    compared is not what is there now, and the next run compares it again.

    Args:
        results: the result of each entry.
        register: the known differences in force for the course.
        moment: now.
        horizon: how long a late reply may take; entries that are final for longer are settled at once.
    """
    changed = []
    for one in results:
        covers = {
            klass: known_differences.match(register, klass, one.entry.queue_name, one.entry.item_id)
            for klass in one.result.divergences
        }
        before = _dependencies(one.entry)
        if _restate(one, covers) or one.entry.bucket_id is None:
            settled = one.payload_at is not None and _ended_before(one, moment - horizon)
            one.entry.compared_at, one.entry.settled_at = moment, moment if settled else None
            changed.append((one, covers, before))
    for start in range(0, len(changed), BATCH):
        on_contention(functools.partial(_write, changed[start : start + BATCH], moment))


Changed = tuple[PairResult, dict[DivergenceClass, KnownDifference | None], tuple]


def _write(batch: list[Changed], moment: datetime) -> None:
    with transaction.atomic():
        permits.lock({one.entry.course_id for one, *_ in batch if DETERMINISTIC & one.result.divergences.keys()})
        now_there = buckets.counted_entries([one.entry.id for one, *_ in batch], *DEPENDS_ON)
        same = [
            (one, covers)
            for one, covers, before in batch
            if one.entry.id in now_there and now_there[one.entry.id].also == before
        ]
        entries = [one.entry for one, _ in same]
        before = _on_record(entries)
        found = [row for one, covers in same for row in _divergences(one, covers, before.get(one.entry.id, {}), moment)]
        changes = _count(entries, now_there, found)
        _update(entries)
        if before:
            Divergence.objects.filter(entry_id__in=bulk.listed(before)).delete()
        bulk_insert.insert(Divergence, Difference._fields, found)
        # No permit outlives a deterministic divergence that nothing covers. What only stays on record (this comparison
        # has not seen it) has let none be given since; and the lock of its course is not held.
        seen = {(one.entry.id, klass) for one, _ in same for klass in one.result.divergences}
        bare = (row for row in found if row.known_id is None and row.cured_at is None)
        permits.withdraw(
            {row.course_id for row in bare if row.klass in DETERMINISTIC and (row.entry_id, row.klass) in seen}
        )
        changes.write()


def _count(
    entries: list[Entry], now_there: dict[int, buckets.CountedEntry], found: list[Difference]
) -> buckets.Changes:
    """Give each entry its bucket; return the changes of the counters, to be written last in the transaction."""
    changes = buckets.Changes()
    differences: dict[int, dict[str, int | None]] = defaultdict(dict)
    for row in found:
        if row.cured_at is None:
            differences[row.entry_id][row.klass] = row.known_id
    for entry in entries:
        old = now_there[entry.id]
        new = old.row._replace(**dict(zip(_COUNTED, _counted(entry), strict=True)))
        entry.bucket_id = changes.move(old, new, differences.get(entry.id))
    return changes


def _on_record(entries: list[Entry]) -> dict[int, dict[DivergenceClass, Difference]]:
    """
    Return by entry the divergences on record, those included that somebody has signed for.

    The entries' locks are enough: the first plain read after them sees the newest rows. Locks of rows that do not exist
    would be on gaps, in which two workers block each other.
    """
    found: dict[int, dict[DivergenceClass, Difference]] = defaultdict(dict)
    ids = [entry.id for entry in entries]
    rows = bulk.select(Divergence, Difference._fields, entry_id=ids)
    for row in map(Difference._make, converted.values(Divergence, Difference._fields, rows)):
        found[row.entry_id][DivergenceClass(row.klass)] = row
    return found


def _divergences(
    one: PairResult,
    covers: dict[DivergenceClass, KnownDifference | None],
    on_record: dict[DivergenceClass, Difference],
    moment: datetime,
) -> list[Difference]:
    """
    Return the divergences to record of an entry, and bring the entry's result in line with them.

    One that was on record before keeps the time at which it was found first.

    A grave divergence stays until an operator has signed for it, even if it is not found any more. Signed for, it does
    not count, as long as nothing can come of it: if it is found again of a row that is still alive, it is a new one.
    """
    entry = one.entry
    before = {klass: row for klass, row in on_record.items() if klass in GRAVE}
    standing = {klass: row.found_at for klass, row in on_record.items() if row.cured_at is None}
    rows = [
        Difference(
            entry_id=entry.id,
            course_id=entry.course_id,
            klass=klass.value,
            what=text_columns.fitted(Divergence, "what", text)[:255],
            found_at=standing.get(klass, moment),
            known_id=None if (known := covers[klass]) is None else known.pk,
            cured_at=before[klass].cured_at if klass in before and _is_over(one, klass) else None,
        )
        for klass, text in one.result.divergences.items()
    ]
    for klass, row in before.items():
        if klass not in one.result.divergences and row.cured_at is None:
            rows.append(row)  # written anew with the others
    if before and rows:
        whole = all(row.known_id is not None or row.cured_at is not None for row in rows)
        cured = any(row.cured_at is not None for row in rows)
        numbers = [row.known_id for row in rows if row.known_id is not None]
        entry.result = PairStatus.KNOWN.value if whole else PairStatus.DIVERGED.value
        entry.known = known_differences.summary(numbers, cured=cured) if whole else ""
        entry.divergences = ",".join(sorted(row.klass for row in rows))
        if any(row.klass == DivergenceClass.DOUBLE_AUTHORITY and row.cured_at is not None for row in rows):
            entry.double_authority = False
    return rows


def _is_over(one: PairResult, klass: DivergenceClass) -> bool:
    """
    Tell whether nothing more can come of a grave divergence: both sides are final.

    A lost row never changes. Of a row on the wrong side only legacy's side has to be final: if the divergence is found
    after that, the row has vanished.
    """
    if klass is DivergenceClass.WRONG_SIDE:
        return one.legacy.state.is_final
    return klass is DivergenceClass.LOST or (one.legacy.state.is_final and one.target.state.is_final)


def _update(entries: list[Entry]) -> None:
    """Update the entries as Django's ``bulk_update``, but cheaper: only times are converted, by no expression."""
    time = functools.cache(connection.ops.adapt_datetimefield_value)  # most of the times are this comparison's
    rows: dict[int, list[Any]] = {}
    for entry in entries:
        rows[entry.id] = values = list(_written(entry))
        for place in _TIMES:
            values[place] = time(values[place])
    bulk_update.update(LedgerEntry, _WRITTEN, rows, room="")


def _restate(one: PairResult, covers: dict[DivergenceClass, KnownDifference | None]) -> bool:
    """Bring an entry up to date, in memory, and return whether anything changed."""
    entry, result, legacy, target = one.entry, one.result, one.legacy, one.target
    before = _values(entry)
    gone = legacy.state is State.GONE
    state = legacy.remarks.was if gone and legacy.remarks and legacy.remarks.was else legacy.state
    # A pair that was not graded on both sides proves nothing, however equal it is.
    graded = state is target.state is State.GRADED
    explained = [number.pk for number in covers.values() if number is not None]
    whole = bool(explained) and len(explained) == len(covers)
    entry.result = PairStatus.KNOWN.value if whole else result.status.value
    entry.known = known_differences.summary(explained) if whole else result.known
    entry.divergences = ",".join(sorted(result.divergences))
    diverged = bool(result.divergences) and state.is_final and target.state.is_final
    entry.graded_pair = graded or diverged
    if state is not State.LOST and not gone:  # else the last known outcome is kept
        entry.legacy_state, (entry.legacy_correct, entry.legacy_score) = state.value, columns_of_reply(legacy.reply)
    entry.target_state, (entry.target_correct, entry.target_score) = target.state.value, columns_of_reply(target.reply)
    timed = graded and entry.origin == Origin.ROUTER and not entry.echo
    if not gone:
        entry.legacy_seconds = _seconds(legacy) if timed else None
    entry.target_seconds = _seconds(target) if timed else None
    if DivergenceClass.DOUBLE_AUTHORITY in result.divergences and entry.move in (Move.RELEASED, Move.WATCHED):
        # Recorded, because legacy's retention may remove the row that shows it. It is written only if the entry still
        # is the target's: a return notes itself on the entry before it touches legacy's row.
        entry.double_authority = True
    entry.target_graded_at = target.returned_at if target.state is State.GRADED else None
    entry.payload_compared_at = one.payload_at
    entry.seen, entry.legacy_seen, entry.target_seen = one.seen
    return before != _values(entry)


def _ended_before(one: PairResult, moment: datetime) -> bool:
    """Tell whether both sides were graded before ``moment``."""
    sides = (one.legacy, one.target)
    if one.entry.result not in (PairStatus.EQUAL, PairStatus.KNOWN, PairStatus.DIVERGED):
        return False
    if DivergenceClass.DUPLICATE in one.result.divergences:
        return False  # it is over with the other row
    return all(side.state is State.GRADED and _is_before(side.returned_at, moment) for side in sides)


def _is_before(at: datetime | None, moment: datetime) -> bool:
    return at is not None and at < moment


def _seconds(outcome: Outcome) -> float | None:
    if outcome.returned_at is None or outcome.arrived_at is None:
        return None
    return (outcome.returned_at - outcome.arrived_at).total_seconds()
