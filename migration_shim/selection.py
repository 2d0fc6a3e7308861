"""
Which ledger entries a reconcile looks at: all of them, or the open set and the news. See docs/decisions/0013.

Legacy has no column that says what changed: supersession and an operator's retirement touch no time. So every entry
that is not settled is looked at, and of the settled ones those that were pulled on legacy or touched on the target
lately.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import F, Q, QuerySet
from django.db.models.lookups import IsNull

from . import multirow
from .data import Leg, PairStatus, ScoreStyle, State
from .legacy import changing as legacy_changing
from .models import LedgerEntry
from .target import changing as target_changing

PAGE = 2000
_FINAL = [state.value for state in State if state.is_final]
#: Results that stand until a row changes; the others depend on the time of day as well.
STANDING = frozenset({PairStatus.EQUAL, PairStatus.KNOWN, PairStatus.DIVERGED})
#: Legacy states that follow from other rows as well as from the submission's own.
_BY_NEIGHBOURS = frozenset({State.SUPERSEDED, State.COLLIDED, State.GIVEN_UP})
#: What a result depends on of the ledger entry itself.
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


class Glance(NamedTuple):
    """What is read of an entry to see whether it has to be compared; ``says`` is all that its result depends on."""

    id: int
    seen: str
    result: str
    queue_name: str
    legacy_state: str
    is_settled: bool
    payload_compared: bool
    legacy_id: int | None
    target_submission_id: int | None
    says: bytes | None


_READ = (
    "id",
    "seen",
    "result",
    "queue_name",
    "legacy_state",
    IsNull(F("settled_at"), False),
    IsNull(F("payload_compared_at"), False),
    "legacy_id",
    "target_submission_id",
    multirow.Packed(*DEPENDS_ON),
)


def pages(
    course_id: str,
    *,
    since: datetime | None,
    echo: bool,
    queues: Iterable[str] = (),
) -> Iterator[list[Glance]]:
    """
    The entries to look at, in pages.

    Args:
        course_id: the course.
        since: news are what happened since; None looks at everything.
        echo: imported history is looked at too, to be echoed.
        queues: the course's queues on legacy.
    """
    entries = LedgerEntry.objects.filter(course_id=course_id)
    if since is None:
        yield from _keyset(entries)
        return
    yield from _keyset(entries.filter(settled_at=None))
    if echo:
        yield from _keyset(entries.filter(settled_at__isnull=False, history=True, echo=False))
    yield from news(course_id, since=since, queues=queues)


def page(course_id: str, *, since: datetime | None, echo: bool, after: int, upto: int | None) -> list[Glance]:
    """The next entries of a range of ids, for one of many hands: ``pages`` without the news. ``upto`` None: no end."""
    rows = _walked(course_id, since, echo=echo).filter(id__gt=after)
    rows = rows if upto is None else rows.filter(id__lte=upto)
    return [Glance._make(row) for row in multirow.raw(rows.order_by("id").values_list(*_READ)[:PAGE])]


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


def news(course_id: str, *, since: datetime | None, queues: Iterable[str] = ()) -> Iterator[list[Glance]]:
    """The settled entries that were touched on either side since then, in pages. None: all are looked at anyway."""
    if since is None:
        return
    settled = LedgerEntry.objects.filter(course_id=course_id, settled_at__isnull=False)
    seen: set[int] = set()
    touched = (
        ("legacy_id", legacy_changing.pulled_since(queues, since)),
        ("target_submission_id", target_changing.touched_since(course_id, since)),
    )
    for column, ids in touched:
        for start in range(0, len(ids), PAGE):
            rows = settled.filter(**{f"{column}__in": ids[start : start + PAGE]}).values_list(*_READ)
            if page := [Glance._make(row) for row in multirow.raw(rows) if row[0] not in seen]:
                seen.update(glance.id for glance in page)
                yield page


def glances(ids: Iterable[int]) -> list[Glance]:
    """These entries, as they are now."""
    rows = LedgerEntry.objects.filter(id__in=list(ids)).order_by("id").values_list(*_READ)
    return [Glance._make(row) for row in multirow.raw(rows)]


def count(course_id: str, *, since: datetime | None) -> int:
    """How many entries ``pages`` gives, about: the news are not known before they are read."""
    entries = LedgerEntry.objects.filter(course_id=course_id)
    return entries.count() if since is None else entries.filter(settled_at=None).count()


def _keyset(entries: QuerySet[LedgerEntry]) -> Iterator[list[Glance]]:
    after = 0
    rows = entries.order_by("id").values_list(*_READ)
    while page := [Glance._make(row) for row in multirow.raw(rows.filter(id__gt=after)[:PAGE])]:
        yield page
        after = page[-1].id


def changed(
    page: list[Glance],
    *,
    echo: bool,
    basis: str,
    style: Callable[[str], ScoreStyle],
) -> dict[int, str]:
    """
    The entries of a page that have to be compared, with the fingerprint of what there is to be seen of them.

    An entry whose rows are as they were when its result was stored has that result still.

    Args:
        page: the entries.
        echo: whether history that was not echoed is to be.
        basis: what all results of this run rest on: versions and settings.
        style: what the graders of a queue call a score; stored points are judged by it.
    """
    legacy = legacy_changing.rows(glance.legacy_id for glance in page if glance.legacy_id is not None)
    target = target_changing.rows(
        glance.target_submission_id for glance in page if glance.target_submission_id is not None
    )
    found = {}
    for glance in page:
        rows = legacy.get(glance.legacy_id, b""), target.get(glance.target_submission_id, b"")
        seen = fingerprint(f"{basis} {style(glance.queue_name)}".encode(), glance.says, *rows)
        if seen != glance.seen or not _stands(glance, echo):
            found[glance.id] = seen
    return found


def _stands(glance: Glance, echo: bool) -> bool:
    """Whether a result can only change with the rows that the fingerprint is of."""
    if glance.result == PairStatus.NONE:
        return not echo
    if glance.result not in STANDING:
        return False
    # A row of a neighbour may be committed a moment later; a file may be there again.
    return glance.is_settled or (glance.legacy_state not in _BY_NEIGHBOURS and glance.payload_compared)


def fingerprint(*parts: bytes | None) -> str:
    """A short digest of what some rows say. A row that says too much to tell never looks the same: it is compared."""
    known = [uuid.uuid4().bytes if part is None else part for part in parts]
    return hashlib.blake2b(b"\n".join(known), digest_size=12).hexdigest()


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
