"""Linking: new legacy rows are matched with their ledger entries, by their digests."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.timezone import now

from ..conf import ShimSettings, load
from ..core.classification import ParsedRow, is_copy, plain_identity
from ..core.data import Authority, Leg, LegacyRow, Move, Origin, Phase
from ..core.identity import FENCE, in_sample
from ..core.wire import parse_header
from ..db import bulk, bulk_update
from ..ledger import entries as ledger_entries
from ..legacy import files, primary, reading
from ..legacy import rows as legacy_rows
from ..models import Checkpoint, CoursePhase, LedgerEntry
from ..runs.control import Control
from . import link_position, wrong_side

#: Ids looked through at once, and rows of these that are read and linked at once: the rows are large.
IDS, PAGE = 2000, 500


def link_new_rows(settings: ShimSettings, control: Control) -> None:
    """
    Read the legacy rows that are new since the last call, and link each to its ledger entry.

    A row without an entry gets one if it is older than the overlap and of a course in shadow: then it is owed its copy.
    A row that arrived while the course's target was authoritative gets one too (``wrong_side``). The checkpoint never
    passes the overlap, because ids commit out of order. A row whose file names cannot be read now is kept for the next
    runs.

    Args:
        settings: the settings in force.
        control: asked before every page whether to stop.

    Raises:
        Stopped: with the reason.
        LegacyReplaced: XQueue's table is not the one that was read before.
    """
    storage = files.legacy_storage(settings)
    checkpoint = link_position.position()
    if not link_position.rows_to_retry(checkpoint) and not legacy_rows.is_any_above(checkpoint.last_id):
        return
    clock = legacy_rows.clock()
    seen = primary.seen_until(clock)
    # The router writes its own entry a moment after legacy has the row. For an older row it has written none.
    before = clock - timedelta(seconds=settings.overlap_seconds)
    _link_again(checkpoint, storage, settings, control, before)
    safe = legacy_rows.safe_checkpoint(settings.overlap_seconds, seen, after=checkpoint.last_id)
    for page in legacy_rows.id_pages(after=checkpoint.last_id, size=IDS):
        first = page[0]
        for ids, upto in _cut(_unlinked(page), page[-1]):
            control.turn()
            arrived = legacy_rows.newest_arrival(after=first - 1, upto=upto)
            plain, parsed, unread = _read(ids, storage, control)
            with transaction.atomic():
                # Runs of two courses may link at once. Here they take turns, and each sees what the other has linked.
                checkpoint = Checkpoint.objects.select_for_update().get(pk=checkpoint.pk)
                parsed += [reading.read(row, storage)[0] for row in _link_plain(plain)]
                _link_page(sorted(parsed, key=lambda one: one.row.id), settings, before)
                link_position.note_arrival(checkpoint, arrived)
                link_position.keep_for_retry(checkpoint, unread=unread)
                checkpoint.last_id = max(checkpoint.last_id, min(upto, safe))
                checkpoint.save()
            first = upto + 1


def _cut(ids: list[int], end: int) -> Iterator[tuple[list[int], int]]:
    """Yield the ids in pages, each with the id up to which it goes: that of its last row, and at the end ``end``."""
    last = max(len(ids) - 1, 0) // PAGE * PAGE
    for start in range(0, last + 1, PAGE):
        page = ids[start : start + PAGE]
        yield page, end if start == last else page[-1]


def _read(
    ids: list[int], storage: files.Source, control: Control
) -> tuple[dict[str, LegacyRow], list[ParsedRow], list[int]]:
    """
    Read these rows outside of a transaction: the names of files may have to be read out of XQueue's storage.

    Returns:
        By identity, the rows that need no more to be linked by it; the others, parsed; and the ids of those that cannot
        be read now.
    """
    plain: dict[str, LegacyRow] = {}
    parsed: list[ParsedRow] = []
    unread: list[int] = []
    for row in legacy_rows.by_id(ids).values() if ids else ():
        control.beat()
        if (identity := plain_identity(row)) is not None and identity not in plain:
            plain[identity] = row
            continue
        one, later = reading.read_for_now(row, storage)
        if later:
            unread.append(row.id)
        else:
            parsed.append(one)
    return plain, parsed, unread


def _unlinked(page: list[int]) -> list[int]:
    """Return the ids of a page that no entry is linked to yet: rows that an import has linked are not read again."""
    linked = {row_id for (row_id,) in bulk.select(LedgerEntry, ("legacy_id",), legacy_id=page)}
    return [row_id for row_id in page if row_id not in linked]


def _link_plain(rows: dict[str, LegacyRow]) -> list[LegacyRow]:
    """
    Link the rows, given by identity, that have an unlinked entry; return the others.

    Nearly all rows have one: the router leaves an entry for each of its submissions, and never learns the row's id.
    """
    wanted = ("identity", "id", "legacy_id", "move")
    if not rows:
        return []
    # Found without a lock, then locked by id. InnoDB would also lock the gaps of identities that do not exist, into
    # which a learner's submission may be inserted, and would wait for an import that is just inserting one.
    ids = [pk for (pk,) in bulk.select(LedgerEntry, ("id",), identity=list(rows))]
    there = bulk.select(LedgerEntry, wanted, lock=True, id=ids)
    found = {identity: pk for identity, pk, legacy_id, move in there if legacy_id is None and move == Move.NONE}
    news = {pk: (rows[identity].id,) for identity, pk in found.items()}
    bulk_update.update(LedgerEntry, ("legacy_id",), news, settled_at=None, seen="")
    return [row for identity, row in rows.items() if identity not in found]


def _link_again(
    checkpoint: Checkpoint, storage: files.Source, settings: ShimSettings, control: Control, before: datetime
) -> None:
    """Try again to link the rows whose file names could not be read before."""
    ids, astray = link_position.rows_to_retry(checkpoint), 0
    if not ids:
        return
    rows, parsed = legacy_rows.by_id(ids), []
    for row in (rows[row_id] for row_id in ids if row_id in rows):
        control.check()
        one, later = reading.read_for_now(row, storage)
        astray = astray + 1 if later else 0
        if not later:
            parsed.append(one)
        if astray == link_position.GIVE_UP:
            break
    with transaction.atomic():
        checkpoint = Checkpoint.objects.select_for_update().get(pk=checkpoint.pk)
        _link_page(parsed, settings, before)
        gone = [row_id for row_id in ids if row_id not in rows]
        link_position.keep_for_retry(checkpoint, unread=(), done=[*gone, *(one.row.id for one in parsed)])
        checkpoint.save()


def relink() -> int:
    """
    Have every row linked anew, after XQueue's table was made anew or restored; return how many entries lost their row.

    An entry whose row does not have its id any more keeps the id with a minus sign, which no row has. Its last known
    outcome stands, as after retention; an entry without an outcome is lost.
    """
    storage, after, lost = files.legacy_storage(load()), 0, 0
    while page := list(LedgerEntry.objects.filter(id__gt=after, legacy_id__gt=0).order_by("id")[:PAGE]):
        after = page[-1].pk
        rows = legacy_rows.by_id(entry.legacy_id for entry in page if entry.legacy_id is not None)
        astray = [entry.pk for entry in page if not _is_row_of(rows.get(entry.legacy_id or 0), entry, storage)]
        changed = LedgerEntry.objects.filter(pk__in=astray, legacy_id__gt=0)
        lost += changed.update(legacy_id=0 - F("legacy_id"), seen="")
    link_position.restart_scans()
    return lost


def _is_row_of(row: LegacyRow | None, entry: LedgerEntry, storage: files.Source) -> bool:
    if row is None:
        return False
    if is_copy(row):
        return parse_header(row.xqueue_header).lms_key.removeprefix(FENCE) == entry.identity
    digests = reading.read(row, storage)[0].digests
    return row.xqueue_header == entry.raw_header or (digests is not None and digests.identity == entry.identity)


def _link_page(page: list[ParsedRow], settings: ShimSettings, before: datetime) -> None:
    if not page:
        return
    _link_reverse([parsed.row for parsed in page if is_copy(parsed.row)])
    parsed = [row for row in page if row.digests is not None]
    identities = [row.digests.identity for row in parsed if row.digests]
    entries = {entry.identity: entry for entry in LedgerEntry.objects.filter(identity__in=identities)}
    shadowed: dict[str, datetime] = dict(
        CoursePhase.objects.filter(phase=Phase.SHADOW).values_list("course_id", "since")
    )
    logs = _phase_logs([row for row in parsed if row.digests and row.digests.identity not in entries], settings)
    taken = legacy_rows.by_id(entry.legacy_id for entry in entries.values() if entry.legacy_id is not None)
    for row in parsed:
        assert row.digests is not None and row.envelope is not None
        entry = entries.get(row.digests.identity)
        if entry is None and row.row.arrival_time < before and _is_wanted(row, shadowed, settings):
            entry = entries[row.digests.identity] = _adopted(row)
            if entry.legacy_id == row.row.id:
                taken[row.row.id] = row.row
        if entry is not None:
            if entry.move != Move.NONE:
                continue  # a handoff or a return has chosen the row
            held = taken.get(entry.legacy_id) if entry.legacy_id is not None else None
            if held is None or _better(row.row, held):
                entry.legacy_id, taken[row.row.id] = row.row.id, row.row
                _note(entry, row.row.id)
            continue
        if row.row.arrival_time >= before:
            continue  # the router may be about to write the entry; the checkpoint has not passed the row
        if (phase := logs.target_phase_of(row)) and (entry := wrong_side.record(row, phase, settings)):
            entries[row.digests.identity] = entry


def _phase_logs(rows: list[ParsedRow], settings: ShimSettings) -> wrong_side.PhaseLogs:
    courses = {row.envelope.callback.course_id for row in rows if row.envelope is not None}
    return wrong_side.PhaseLogs(courses, settings)


def _note(entry: LedgerEntry, row_id: int) -> None:
    """Store a link, and have the entry compared again, even if it was settled."""
    LedgerEntry.objects.filter(pk=entry.pk, move=Move.NONE).update(legacy_id=row_id, settled_at=None, seen="")


def _link_reverse(page: list[LegacyRow]) -> None:
    """Link reverse shadows, whose header has the identity of their submission in place of a learner's key."""
    rows = {parse_header(row.xqueue_header).lms_key.removeprefix(FENCE): row for row in page}
    for entry in LedgerEntry.objects.filter(identity__in=rows, authority=Authority.TARGET, move=Move.NONE):
        if entry.legacy_id is None or entry.legacy_id < rows[entry.identity].id:
            _note(entry, rows[entry.identity].id)


def _is_wanted(row: ParsedRow, shadowed: dict[str, datetime], settings: ShimSettings) -> bool:
    """Tell whether a row is to be copied: it arrived after the step to shadow, from a learner of the sample."""
    assert row.envelope is not None
    course_id = row.envelope.callback.course_id
    since = shadowed.get(course_id)
    # Two systems' clocks are compared: a row from just before the step may get an entry, and so its copy, too.
    if since is None or row.row.arrival_time < since:
        return False
    return in_sample(row.envelope.body.anonymous_student_id, settings.sample_of(course_id))


def _better(row: LegacyRow, held: LegacyRow) -> bool:
    """Tell whether ``row`` is more likely the submission's than ``held``: the newest unretired one, else the newest."""
    return (not row.retired, row.id) > (not held.retired, held.id)


def _adopted(parsed: ParsedRow) -> LedgerEntry:
    """Return a new entry for a row that has none, or the entry of another session that was quicker."""
    assert parsed.envelope is not None and parsed.digests is not None
    entry = ledger_entries.new_entry(
        parsed.envelope,
        parsed.digests,
        phase=Phase.SHADOW,
        origin=Origin.RECONCILE,
        arrived_at=parsed.row.arrival_time,
        input_key=parsed.input_key,
    )
    entry.legacy_leg, entry.legacy_id, entry.target_leg = Leg.STORED, parsed.row.id, Leg.MISSING
    entry.copy_due = now()
    entry.supersession_due = entry.copy_due if entry.input_key else None
    try:
        with transaction.atomic():
            entry.save(force_insert=True)
    except IntegrityError:
        return LedgerEntry.objects.get(identity=entry.identity)
    return entry
