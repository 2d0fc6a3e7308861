"""
Which ledger entries a reconcile looks at: all of them, or the open set and the news; and which of these have changed.
See docs/decisions/0013 and 0036.

Legacy has no column that says what changed: supersession and an operator's retirement touch no time. So every entry
that is not settled is looked at, and of the settled ones those that were pulled on legacy or touched on the target
lately. To look at one is to compare two digests that the servers make with those that its result was stored with.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol, Self

from django.db import connection
from django.db.models import Q, QuerySet

from ..core.data import Leg, Move, PairStatus, ScoreStyle, State
from ..db import bulk, fingerprint
from ..legacy import fingerprints as legacy_fingerprints
from ..models import LedgerEntry
from ..target import fingerprints as target_fingerprints

PAGE = 2000
_FINAL = [state.value for state in State if state.is_final]
#: Results that stand until a row changes; the others depend on the time of day as well.
STANDING = frozenset({PairStatus.EQUAL, PairStatus.KNOWN, PairStatus.DIVERGED})
#: Legacy states that follow from other rows as well as from the submission's own.
_BY_NEIGHBOURS = frozenset({State.SUPERSEDED, State.COLLIDED, State.GIVEN_UP})
#: An entry ``l`` one side of which is not there, once it was too late for that: it stays so for as long as neither row
#: nor the entry changes. Not while a copy is owed; of what was superseded or moved the neighbours or the time tell.
_ONE_SIDED = (
    f"'{State.MISSING}' IN (l.legacy_state, l.target_state) AND l.target_state <> '{State.PULLED}'"
    f" AND l.copy_due IS NULL AND l.superseded_at IS NULL AND l.move = '{Move.NONE}'"
)
#: What a result depends on of the ledger entry itself, and what must not have changed when it is stored.
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
    """What a result was stored with: the rules that it was judged by, and the digests of both rows. ``""``: no row."""

    seen: str
    legacy_seen: str
    target_seen: str


class EntrySnapshot(NamedTuple):
    """What is read of an entry: ``stands`` is whether rules and target row are those of its result."""

    id: int
    legacy_id: int | None
    legacy_seen: str
    stands: int


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules that the pairs of a run are judged by, as digests: of a queue by its style of scores."""

    default: str
    by_queue: Mapping[str, str]

    @classmethod
    def of(cls, basis: str, styles: Mapping[str, ScoreStyle]) -> Self:
        """Of what all results of a run rest on (versions and settings), and of the styles that are known."""
        of_style = {style: _digest(f"{basis} {style}") for style in ScoreStyle}
        by_queue = {queue: of_style[style] for queue, style in styles.items() if style is not ScoreStyle.UNKNOWN}
        return cls(of_style[ScoreStyle.UNKNOWN], by_queue)

    def of_queue(self, queue_name: str) -> str:
        """The digest of a queue's rules."""
        return self.by_queue.get(queue_name, self.default)

    def sql(self) -> tuple[str, list[str]]:
        """The digest of the rules of an entry ``l``, as SQL with its parameters."""
        if not self.by_queue:
            return "%s", [self.default]
        whens = " WHEN %s THEN %s" * len(self.by_queue)
        pairs = [text for pair in self.by_queue.items() for text in pair]
        return f"CASE l.queue_name{whens} ELSE %s END", [*pairs, self.default]


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class SnapshotReader(Protocol):
    """What reads entries; see ``snapshot_reader``."""

    def __call__(self, where: str, parameters: list[Any], limit: int | None = None) -> list[EntrySnapshot]:
        """
        Those of a condition on ``l`` and its parameters.

        ``limit`` is a number of rows; where it is reached, the last entry is left out, for it may have more of them.
        """


def snapshot_reader(rules: Rules, *, echo: bool) -> SnapshotReader:
    """
    What reads entries to see whether their results stand.

    A result that follows from the time of day, from a neighbour's row or from a file that could not be read stands for
    no longer than until the next look: a row of a neighbour may be committed a moment later, a file be there again.
    """
    by_rules, of_rules = rules.sql()
    stands = (
        f"(l.result IN ({_quoted(STANDING)}) AND (l.settled_at IS NOT NULL OR"
        f" ((l.payload_compared_at IS NOT NULL OR {_ONE_SIDED})"
        f" AND l.legacy_state NOT IN ({_quoted(_BY_NEIGHBOURS)}))))"
    )
    if not echo:
        stands = f"({stands} OR l.result = '{PairStatus.NONE}')"
    same = fingerprint.same("l.target_seen", target_fingerprints.digest())
    # The target's rows of an entry that nobody has compared are not read for this.
    joins = target_fingerprints.joins("l.seen <> ''")
    sql = (
        f"SELECT l.id, l.legacy_id, l.legacy_seen, CASE WHEN l.seen = {by_rules} AND {stands} THEN {same} ELSE 0 END"
        f" FROM {_TABLE} l {joins} WHERE "
    )

    def read(where: str, parameters: list[Any], limit: int | None = None) -> list[EntrySnapshot]:
        with connection.cursor() as cursor:
            cursor.execute(f"{sql}{where}{f' LIMIT {limit}' if limit else ''}", [*of_rules, *parameters])
            rows = list(map(EntrySnapshot._make, cursor.fetchall()))
        if len(rows) == limit:
            rows = [row for row in rows if row.id != rows[-1].id] or rows
        found = {row.id: row for row in rows}
        if len(found) == len(rows):
            return rows
        for pk, times in Counter(row.id for row in rows).items():
            if times > 1:  # one with several Scores; see target.changing.joins
                found[pk] = found[pk]._replace(stands=0)
        return list(found.values())

    return read


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(f"'{word}'" for word in sorted(words))


def pages(
    read: SnapshotReader, course_id: str, *, since: datetime | None, echo: bool, queues: Iterable[str] = ()
) -> Iterator[list[EntrySnapshot]]:
    """
    The entries to look at, in pages.

    Args:
        read: what reads them; see ``snapshot_reader``.
        course_id: the course.
        since: news are what happened since; None looks at everything.
        echo: imported history is looked at too, to be echoed.
        queues: the course's queues on legacy.
    """
    after = 0
    while page_ := page(read, course_id, since=since, echo=echo, after=after, upto=None):
        yield page_
        after = page_[-1].id
    yield from touched_pages(read, course_id, since=since, queues=queues)


def page(
    read: SnapshotReader, course_id: str, *, since: datetime | None, echo: bool, after: int, upto: int | None
) -> list[EntrySnapshot]:
    """The next entries of a range of ids: ``pages`` without the news. ``upto`` None: no end."""
    where, parameters = "l.course_id = %s AND l.id > %s", [course_id, after]
    if upto is not None:
        where, parameters = f"{where} AND l.id <= %s", [*parameters, upto]
    if since is not None:
        more = " OR (l.history AND NOT l.echo)" if echo else ""
        where += f" AND (l.settled_at IS NULL{more})"
    return read(f"{where} ORDER BY l.id", parameters, PAGE + 1)


def range_ends(course_id: str, *, since: datetime | None, echo: bool, size: int) -> Iterator[int]:
    """The ids that cut what ``page`` gives into ranges of ``size`` entries; the last range may hold fewer."""
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
    """The settled entries that were touched on either side since then, in pages. None: all are looked at anyway."""
    if since is None:
        return
    seen: set[int] = set()
    touched = (
        ("legacy_id", legacy_fingerprints.pulled_since(queues, since)),
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
    """How many entries ``pages`` gives, about: the news are not known before they are read."""
    return _walked(course_id, since, echo=False).count()


def changed(page: list[EntrySnapshot]) -> list[int]:
    """The entries of a page that have to be compared: those of which a digest is another one, or does not stand."""
    legacy = legacy_fingerprints.digests([row_id for _, row_id, _, stands in page if stands and row_id is not None])
    return [
        pk
        for pk, row_id, seen, stands in page
        if not stands or (now := legacy.get(row_id or 0, "")) != seen or now == fingerprint.UNKNOWN
    ]


def fingerprints_now(ids: Iterable[int], rules: Rules) -> dict[int, Fingerprints]:
    """What the results of these entries are to be stored with, as their rows are now; before they are compared."""
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


def settle(course_id: str, moment: datetime, horizon: timedelta, beat: Callable[[], None]) -> None:
    """
    Settle what is final on both sides and has stayed as it is for longer than a late reply may take.

    A page at a time: nobody who writes to the ledger waits for more. ``beat`` is called with every page.
    """
    legacy = Q(legacy_leg=Leg.NONE) | Q(legacy_state__in=_FINAL) | Q(legacy_leg=Leg.FAILED, legacy_id=None)
    target = Q(target_leg=Leg.NONE) | Q(target_state__in=_FINAL) | Q(history=True, echo=False)
    payload = Q(payload_compared_at__isnull=False) | Q(result=PairStatus.NONE)
    entries = LedgerEntry.objects.filter(legacy, target, payload, course_id=course_id, settled_at=None)
    entries = entries.filter(result__in=[*STANDING, PairStatus.NONE], compared_at__lt=moment - horizon)
    after = 0
    while ids := list(entries.filter(id__gt=after).order_by("id").values_list("id", flat=True)[:PAGE]):
        LedgerEntry.objects.filter(id__in=ids, compared_at__lt=moment - horizon).update(settled_at=moment)
        after = ids[-1]
        beat()
