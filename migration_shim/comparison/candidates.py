"""
Which ledger entries a reconcile looks at, and which of these have changed and must be compared.

A full run looks at all entries. Others look at the open ones and at settled ones that were touched: legacy has no
column that says what changed, because supersession and an operator's retirement touch no time. So every entry that is
not settled is looked at, and of the settled ones those that were lately pulled on legacy or touched on the target. To
look at an entry is to compare two digests, which the servers make, with those that its result was stored with. See
docs/decisions/0013 and 0036.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol, Self

from django.db import connection
from django.db.models import Q, QuerySet

from ..core.data import DivergenceClass, Leg, Move, PairStatus, ScoreStyle, State
from ..db import bulk, fingerprint
from ..legacy import fingerprints as legacy_fingerprints
from ..models import LedgerEntry
from ..target import fingerprints as target_fingerprints

PAGE = 2000
_FINAL = [state.value for state in State if state.is_final]
#: Results that stand until a row changes. The others also depend on the time of day.
STANDING = frozenset({PairStatus.EQUAL, PairStatus.KNOWN, PairStatus.DIVERGED})
#: Legacy states that follow from other rows as well as from the submission's own.
_BY_NEIGHBOURS = frozenset({State.SUPERSEDED, State.COLLIDED, State.GIVEN_UP})
#: The condition that neither side of an entry ``l`` had a second row. The digest of legacy's row tells nothing of the
#: other: such an entry is compared in every run, until there is none.
_ALONE = f"INSTR(l.divergences, '{DivergenceClass.DUPLICATE}') = 0"
#: The condition that one side of an entry ``l`` is missing though its time is over: that holds until a row or the entry
#: changes. It excludes entries whose copy is still owed, and superseded or moved entries, whose results also depend on
#: neighbours or on time.
_ONE_SIDED = (
    f"'{State.MISSING}' IN (l.legacy_state, l.target_state)"
    f" AND l.copy_due IS NULL AND l.superseded_at IS NULL AND l.move = '{Move.NONE}'"
)
#: The condition that nobody has begun with an entry's submission on the target, and that no move, supersession or copy
#: that is owed says what becomes of it.
_UNTOUCHED = (
    f"l.target_state = '{State.QUEUED}' AND l.copy_due IS NULL AND l.superseded_at IS NULL AND l.move = '{Move.NONE}'"
)
#: The condition that neither side of an entry ``l`` is over. It waits until one of them is, however long that takes.
_BOTH_OPEN = f"l.result = '{PairStatus.WAITING}' AND l.legacy_state IN ('{State.QUEUED}', '{State.PULLED}')"
#: The columns of a ledger entry that its result depends on; they must not have changed when the result is stored.
DEPENDS_ON = (
    "authority",
    "move",
    "legacy_leg",
    "target_leg",
    "legacy_id",
    "target_submission_id",
    "superseded_at",
    "double_authority",
    "lease_key",
    "leases",
    "echo",
)
_TABLE = LedgerEntry._meta.db_table


class Fingerprints(NamedTuple):
    """The digests that a result is stored with: of the rules it was judged by, and of both rows; ``""`` is no row."""

    seen: str
    legacy_seen: str
    target_seen: str


class EntrySnapshot(NamedTuple):
    """
    What is read of an entry.

    ``stands`` tells whether rules and target row still are its result's, ``superseded`` whether a newer attempt has
    replaced it as far as the ledger knows; both are 1 or 0.
    """

    id: int
    legacy_id: int | None
    legacy_seen: str
    stands: int
    superseded: int


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules that a run judges pairs by, as digests: one for each queue, by its style of scores."""

    default: str
    by_queue: Mapping[str, str]

    @classmethod
    def of(cls, basis: str, styles: Mapping[str, ScoreStyle]) -> Self:
        """Return the rules for ``basis``, the text of a run's versions and settings, and the known styles by queue."""
        of_style = {style: _digest(f"{basis} {style}") for style in ScoreStyle}
        by_queue = {queue: of_style[style] for queue, style in styles.items() if style is not ScoreStyle.UNKNOWN}
        return cls(of_style[ScoreStyle.UNKNOWN], by_queue)

    def of_queue(self, queue_name: str) -> str:
        """Return the digest of a queue's rules."""
        return self.by_queue.get(queue_name, self.default)

    def sql(self) -> tuple[str, list[str]]:
        """Return SQL for the digest of the rules of an entry ``l``, with its parameters."""
        if not self.by_queue:
            return "%s", [self.default]
        whens = " WHEN %s THEN %s" * len(self.by_queue)
        pairs = [text for pair in self.by_queue.items() for text in pair]
        return f"CASE l.queue_name{whens} ELSE %s END", [*pairs, self.default]


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class SnapshotPage(list[EntrySnapshot]):
    """Snapshots that were read together. ``is_last`` tells that the condition selects no more than these."""

    is_last = True


class SnapshotReader(Protocol):
    """A function that reads snapshots of entries; ``snapshot_reader`` returns one."""

    def __call__(self, where: str, parameters: list[Any], limit: int | None = None) -> SnapshotPage:
        """
        Return the snapshots of the entries ``l`` that a condition, with its parameters, selects.

        ``limit`` is a number of rows. If it is reached, the last entry is left out, because it may have more rows.
        """


def snapshot_reader(rules: Rules | None, *, echo: bool, patient: Collection[str] | None = None) -> SnapshotReader:
    """
    Return a function that reads snapshots, which tell whether the results of entries still stand.

    Unless its entry is settled, a result does not stand if it follows from the time of day, from a neighbour's row or
    from an unreadable file: a moment later the neighbour's row may be committed, or the file may be there again. Nor
    does one of a row with a grader of the target, who may turn out to be dead. What waits on both sides, or is overdue,
    stays so until a row changes. A duplicate never stands.

    Args:
        rules: the rules of the run; with None a result stands whatever rules it was judged by.
        echo: entries that have no result, wait or are overdue do not stand, because they may have to be echoed.
        patient: the queues whose graders take so long that what is overdue may be in time again once more is known of
            them; None for all queues.
    """
    by_rules, of_rules = rules.sql() if rules is not None else ("l.seen", [])
    stands = (
        f"(l.result IN ({_quoted(STANDING)}) AND {_ALONE} AND (l.settled_at IS NOT NULL OR"
        f" ((l.payload_compared_at IS NOT NULL OR {_ONE_SIDED})"
        f" AND l.legacy_state NOT IN ({_quoted(_BY_NEIGHBOURS)}) AND l.target_state <> '{State.PULLED}')))"
    )
    if not echo:
        lasting = [_BOTH_OPEN]
        if patient is not None:
            lasting.append(_overdue(patient))
            of_rules = [*of_rules, *patient]
        stands = (
            f"({stands} OR l.result = '{PairStatus.NONE}' OR (l.payload_compared_at IS NOT NULL AND {_UNTOUCHED}"
            f" AND ({' OR '.join(lasting)})))"
        )
    same = fingerprint.same("l.target_seen", target_fingerprints.digest())
    # The target's rows of an entry that was never compared are not read.
    joins = target_fingerprints.joins("l.seen <> ''")
    sql = (
        f"{fingerprint.uncached(connection)}"
        f"SELECT l.id, l.legacy_id, l.legacy_seen, CASE WHEN l.seen = {by_rules} AND {stands} THEN {same} ELSE 0 END,"
        f" l.superseded_at IS NOT NULL FROM {_TABLE} l {joins} WHERE "
    )

    def read(where: str, parameters: list[Any], limit: int | None = None) -> SnapshotPage:
        with connection.cursor() as cursor:
            cursor.execute(f"{sql}{where}{f' LIMIT {limit}' if limit else ''}", [*of_rules, *parameters])
            rows = SnapshotPage(map(EntrySnapshot._make, cursor.fetchall()))
        if len(rows) == limit:
            rows = SnapshotPage([row for row in rows if row.id != rows[-1].id] or rows)
            rows.is_last = False
        found = {row.id: row for row in rows}
        if len(found) < len(rows):
            for pk, times in Counter(row.id for row in rows).items():
                if times > 1:  # it has several Scores; see target.fingerprints.joins
                    found[pk] = found[pk]._replace(stands=0)
            rows[:] = found.values()
        return rows

    return read


def _overdue(patient: Collection[str]) -> str:
    """Return the condition that an entry ``l`` is overdue, and of none of these queues, which are its parameters."""
    among = f" AND l.queue_name NOT IN ({', '.join(['%s'] * len(patient))})" if patient else ""
    return f"l.result = '{PairStatus.OVERDUE}' AND l.legacy_state NOT IN ({_quoted(_BY_NEIGHBOURS)}){among}"


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(f"'{word}'" for word in sorted(words))


def pages(
    read: SnapshotReader, course_id: str, *, since: datetime | None, echo: bool, queues: Iterable[str] = ()
) -> Iterator[list[EntrySnapshot]]:
    """
    Yield the entries to look at, in pages: the open ones, then the settled ones that were touched.

    Args:
        read: reads the snapshots; see ``snapshot_reader``.
        course_id: the course.
        since: from when on touches of settled entries count; None yields all entries.
        echo: imported history is looked at too, to be echoed.
        queues: the course's queues on legacy.
    """
    after = 0
    while page_ := page(read, course_id, since=since, echo=echo, after=after, upto=None):
        yield page_
        if page_.is_last:
            break
        after = page_[-1].id
    yield from touched_pages(read, course_id, since=since, queues=queues)


def page(
    read: SnapshotReader, course_id: str, *, since: datetime | None, echo: bool, after: int, upto: int | None
) -> SnapshotPage:
    """
    Return the next page of a range of ids: open entries, and with ``echo`` imported history; all if ``since`` is None.

    The range is ``after`` < id <= ``upto``; None as ``upto`` means that it has no end.
    """
    where, parameters = "l.course_id = %s AND l.id > %s", [course_id, after]
    if upto is not None:
        where, parameters = f"{where} AND l.id <= %s", [*parameters, upto]
    if since is not None:
        more = " OR (l.history AND NOT l.echo)" if echo else ""
        where += f" AND (l.settled_at IS NULL{more})"
    return read(f"{where} ORDER BY l.id", parameters, PAGE + 1)


def range_ends(course_id: str, *, since: datetime | None, echo: bool, size: int) -> Iterator[int]:
    """Yield the last ids of ranges of ``size`` of the entries that ``page`` returns; the last range may be smaller."""
    ids = _walked(course_id, since, echo=echo).order_by("id").values_list("id", flat=True)
    last = ids.last() or 0
    after = 0
    while after < last:
        after = ids.filter(id__gt=after, id__lte=last)[size - 1 : size].first() or last
        yield after


def _walked(course_id: str, since: datetime | None, *, echo: bool) -> QuerySet[LedgerEntry]:
    entries = LedgerEntry.objects.filter(course_id=course_id)
    if since is None:
        return entries
    return entries.filter(Q(settled_at=None) | Q(history=True, echo=False)) if echo else entries.filter(settled_at=None)


def touched_pages(
    read: SnapshotReader, course_id: str, *, since: datetime | None, queues: Iterable[str] = ()
) -> Iterator[list[EntrySnapshot]]:
    """Yield settled entries that either system has touched since ``since``, in pages; none where it is None."""
    if since is None:
        return
    seen: set[int] = set()
    touched = (
        ("legacy_id", legacy_fingerprints.ids_pulled_since(queues, since)),
        ("target_submission_id", target_fingerprints.touched_since(course_id, since)),
    )
    for column, ids in touched:
        for start in range(0, len(ids), PAGE):
            among = f"l.{column} IN ({bulk.numbers(ids[start : start + PAGE])})"
            found = read(f"{among} AND l.course_id = %s AND l.settled_at IS NOT NULL", [course_id])
            if page_ := [snapshot for snapshot in found if snapshot.id not in seen]:
                seen.update(snapshot.id for snapshot in page_)
                yield page_


def count(course_id: str, *, since: datetime | None) -> int:
    """Return about how many entries ``pages`` yields, without the touched ones, which are not known before."""
    is_open = "" if since is None else " AND settled_at IS NULL"
    return int(bulk.ask(f"SELECT COUNT(*) FROM {_TABLE} WHERE course_id = %s{is_open}", [course_id])[0][0])


def changed(page: list[EntrySnapshot]) -> list[int]:
    """Return the ids of a page's entries that must be compared: their results do not stand, or legacy's row changed."""
    legacy = legacy_fingerprints.digests([row_id for _, row_id, _, stands, _ in page if stands and row_id is not None])
    return [
        pk
        for pk, row_id, seen, stands, _ in page
        if not stands or (now := legacy.get(row_id or 0, "")) != seen or now == fingerprint.UNKNOWN
    ]


def fingerprints_now(ids: Iterable[int], rules: Rules) -> dict[int, Fingerprints]:
    """
    Return by id the digests that the results of entries are to be stored with, as the rows are now.

    Read them before the rows are compared: a change in between then shows in the next run.
    """
    wanted = bulk.numbers(ids)
    if not wanted:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT l.id, l.legacy_id, l.queue_name, {fingerprint.known(target_fingerprints.digest())}"
            f" FROM {_TABLE} l {target_fingerprints.joins()} WHERE l.id IN ({wanted})"
        )
        rows = cursor.fetchall()
    legacy = legacy_fingerprints.digests({legacy_id for _, legacy_id, *_ in rows if legacy_id is not None})
    found: dict[int, Fingerprints] = {}
    for pk, legacy_id, queue_name, target in rows:
        several = pk in found
        row = legacy.get(legacy_id or 0, "")
        found[pk] = Fingerprints(rules.of_queue(queue_name), row, fingerprint.UNKNOWN if several else target)
    return found


#: Entries that nothing but a change of a row can make news of, in the order of their ids.
_OVER = (
    f"SELECT l.id FROM {_TABLE} l WHERE l.course_id = %s AND l.settled_at IS NULL AND l.compared_at < %s AND l.id > %s"
    f" AND (l.legacy_leg = '{Leg.NONE}' OR l.legacy_state IN ({_quoted(_FINAL)})"
    f" OR (l.legacy_leg = '{Leg.FAILED}' AND l.legacy_id IS NULL))"
    f" AND (l.target_leg = '{Leg.NONE}' OR l.target_state IN ({_quoted(_FINAL)}) OR (l.history AND NOT l.echo))"
    f" AND l.result IN ({_quoted([*STANDING, PairStatus.NONE])}) AND {_ALONE}"
    f" AND (l.payload_compared_at IS NOT NULL OR l.result = '{PairStatus.NONE}') ORDER BY l.id LIMIT %s"
)


def settle(course_id: str, moment: datetime, horizon: timedelta, beat: Callable[[], None]) -> None:
    """
    Settle the entries that are final on both sides and have not changed for longer than a late reply may take.

    It goes page by page, so that other writers to the ledger wait for no more than a page.

    Args:
        course_id: the course.
        moment: now.
        horizon: how long a late reply may take.
        beat: called after every page; it may raise to stop.
    """
    after = 0
    while ids := [pk for (pk,) in bulk.ask(_OVER, [course_id, moment - horizon, after, PAGE])]:
        LedgerEntry.objects.filter(id__in=ids, compared_at__lt=moment - horizon).update(settled_at=moment)
        after = ids[-1]
        beat()
        if len(ids) < PAGE:
            return
