"""
Which ledger entries a reconcile looks at: all of them, or the open set and the news. See docs/decisions/0013.

Legacy has no column that says what changed: supersession and an operator's retirement touch no time. So every entry
that is not settled is looked at, and of the settled ones those that were pulled on legacy or touched on the target
lately.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet

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
    """What is read of an entry to see whether it has to be compared."""

    id: int
    seen: str
    result: str
    queue_name: str
    legacy_state: str
    settled_at: datetime | None
    payload_compared_at: datetime | None
    authority: str
    move: str
    legacy_leg: str
    target_leg: str
    legacy_id: int | None
    target_submission_id: int | None
    superseded_at: datetime | None
    double_authority: bool
    lease_key: str
    leases: int
    echo: bool


_AT = Glance._fields.index(DEPENDS_ON[0])


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
    settled = entries.filter(settled_at__isnull=False)
    if echo:
        yield from _keyset(settled.filter(history=True, echo=False))
    seen: set[int] = set()
    news = (
        ("legacy_id", legacy_changing.pulled_since(queues, since)),
        ("target_submission_id", target_changing.touched_since(since)),
    )
    for column, ids in news:
        for start in range(0, len(ids), PAGE):
            rows = settled.filter(**{f"{column}__in": ids[start : start + PAGE]}).values_list(*Glance._fields)
            if page := [Glance._make(row) for row in multirow.raw(rows) if row[0] not in seen]:
                seen.update(glance.id for glance in page)
                yield page


def glances(ids: Iterable[int]) -> list[Glance]:
    """These entries, as they are now."""
    rows = LedgerEntry.objects.filter(id__in=list(ids)).order_by("id").values_list(*Glance._fields)
    return [Glance._make(row) for row in multirow.raw(rows)]


def count(course_id: str, *, since: datetime | None) -> int:
    """How many entries ``pages`` gives, about: the news are not known before they are read."""
    entries = LedgerEntry.objects.filter(course_id=course_id)
    return entries.count() if since is None else entries.filter(settled_at=None).count()


def _keyset(entries: QuerySet[LedgerEntry]) -> Iterator[list[Glance]]:
    after = 0
    rows = entries.order_by("id").values_list(*Glance._fields)
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
        rows = legacy.get(glance.legacy_id), target.get(glance.target_submission_id)
        seen = fingerprint(basis, style(glance.queue_name), glance[_AT:], *rows)
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
    return glance.settled_at is not None or (
        glance.legacy_state not in _BY_NEIGHBOURS and glance.payload_compared_at is not None
    )


def fingerprint(*parts: Any) -> str:
    """A short digest of column values."""
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def settle(course_id: str, moment: datetime, horizon: timedelta) -> None:
    """
    Settle what is final on both sides and has stayed as it is for longer than a late reply may take.

    A page at a time: nobody who writes to the ledger waits for more.
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
