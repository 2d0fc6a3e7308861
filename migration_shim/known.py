"""
The register of known differences: somebody has looked into a difference, answers for it, and until when.

What it covers is counted in every report and never hidden. Once an entry has expired or was withdrawn, what it covered
counts against the course again, at the next verdict, without a new reconcile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q
from django.utils.timezone import now

from .data import DivergenceClass, Document, ExitCode, PairStatus
from .errors import ShimError
from .models import Divergence, KnownDifference, LedgerEntry

SCHEMA = "migration_shim.xqueue_known/1"
#: Never to be explained away: each of them says that the shim itself has broken its promise.
NOT_EXCUSABLE = frozenset(
    {
        DivergenceClass.FENCE_LEAK,
        DivergenceClass.DOUBLE_AUTHORITY,
        DivergenceClass.WRONG_SIDE,
        DivergenceClass.LOST,
    }
)


def in_force(moment: datetime) -> Q:
    """The entries of the register that count at a moment."""
    return Q(withdrawn_at=None, expires_at__gt=moment)


def of_course(course_id: str, moment: datetime) -> list[KnownDifference]:
    """What the register says of a course at a moment, the most specific entries first."""
    scope = Q(course_id__in=("", course_id))
    entries = KnownDifference.objects.filter(scope, in_force(moment)).exclude(klass__in=NOT_EXCUSABLE)
    return sorted(entries, key=lambda entry: (not entry.item_id, not entry.queue_name, not entry.course_id, entry.pk))


def match(
    register: Iterable[KnownDifference], klass: DivergenceClass, queue_name: str, item_id: str
) -> KnownDifference | None:
    """The first entry of ``of_course`` that covers a difference of this class, queue and problem."""
    for entry in register:
        scope = ((entry.queue_name, queue_name), (entry.item_id, item_id))
        if entry.klass == klass and all(wanted in ("", found) for wanted, found in scope):
            return entry
    return None


def add(
    klass: DivergenceClass,
    *,
    reason: str,
    owner: str,
    days: int,
    course_id: str = "",
    queue_name: str = "",
    item_id: str = "",
) -> Document:
    """
    Register a difference.

    Args:
        klass: the class of divergence that is understood.
        reason: why it is harmless.
        owner: who answers for it.
        days: after how many it bites again.
        course_id: the course; empty for all. So are the queue and the problem.

    Raises:
        ShimError: the class cannot be excused.
    """
    if klass in NOT_EXCUSABLE:
        raise ShimError(f"A divergence of class {klass} cannot be registered: mend it, or take the course back.")
    moment = now()
    KnownDifference.objects.create(
        klass=klass,
        course_id=course_id,
        queue_name=queue_name,
        item_id=item_id,
        reason=reason,
        owner=owner[:150],
        created_at=moment,
        expires_at=moment + timedelta(days=days),
    )
    return listing()


def withdraw(number: int) -> Document:
    """
    Take an entry out of force. It stays on record.

    Raises:
        ShimError: there is no such entry in force.
    """
    moment = now()
    if not KnownDifference.objects.filter(in_force(moment), pk=number).update(withdrawn_at=moment):
        raise ShimError(f"There is no known difference {number} in force.")
    return listing()


def listing() -> Document:
    """The whole register, what has expired and was withdrawn included."""
    moment = now()
    entries = [described(entry, moment) for entry in KnownDifference.objects.order_by("pk")]
    content = {"schema": SCHEMA, "at": moment.isoformat(), "known_differences": entries}
    return Document(content=content, exit_code=ExitCode.OK)


def described(entry: KnownDifference, moment: datetime) -> dict[str, Any]:
    """One entry as plain data, for documents and reports."""
    state = "withdrawn" if entry.withdrawn_at else "in force" if entry.expires_at > moment else "expired"
    return {
        "id": entry.pk,
        "class": entry.klass,
        "course": entry.course_id,
        "queue": entry.queue_name,
        "problem": entry.item_id,
        "reason": entry.reason,
        "owner": entry.owner,
        "created_at": entry.created_at.isoformat(),
        "expires_at": entry.expires_at.isoformat(),
        "state": state,
        "covers": Divergence.objects.filter(known=entry).count(),
    }


def described_of(course_id: str, moment: datetime) -> list[dict[str, Any]]:
    """What the register says, or has said, of a course, as plain data: what has expired is shown too."""
    rows = KnownDifference.objects.filter(course_id__in=("", course_id)).order_by("pk")
    return [described(entry, moment) for entry in rows]


def summary(numbers: Iterable[int]) -> str:
    """The name of a known difference that entries of the register make, for the ledger."""
    return ("register " + ", ".join(map(str, sorted(set(numbers)))))[:64]


def apply(course_id: str, moment: datetime) -> None:
    """
    Bring the divergences on record in line with the register as it is now.

    An entry all of whose divergences are covered is ``known``; one that has an uncovered one is ``diverged``, however
    long it was known before. Nothing is written where nothing has changed.
    """
    register = of_course(course_id, moment)
    rows = Divergence.objects.filter(course_id=course_id).order_by("id")
    # With nothing to cover them by, only those matter that were covered until now.
    rows = rows if register else rows.filter(known__isnull=False)
    columns = ("id", "klass", "known_id", "entry_id", "entry__queue_name", "entry__item_id")
    after = 0
    while page := list(rows.filter(id__gt=after).values_list(*columns)[:1000]):
        after = page[-1][0]
        touched: set[int] = set()
        for pk, klass, known_id, entry_id, queue_name, item_id in page:
            covers = match(register, DivergenceClass(klass), queue_name, item_id)
            if (covers.pk if covers else None) != known_id:
                Divergence.objects.filter(pk=pk).update(known=covers)
                touched.add(entry_id)
        _restate(touched)
    for entry in register:
        hits = Divergence.objects.filter(known=entry).count()
        if hits != entry.hits:
            KnownDifference.objects.filter(pk=entry.pk).update(hits=hits)


def _restate(entries: Iterable[int]) -> None:
    """Say of these entries whether all of their divergences are covered."""
    covered: dict[int, list[int | None]] = defaultdict(list)
    for entry_id, known_id in Divergence.objects.filter(entry__in=entries).values_list("entry_id", "known_id"):
        covered[entry_id].append(known_id)
    for entry_id, numbers in covered.items():
        found = [number for number in numbers if number is not None]
        whole = len(found) == len(numbers)
        LedgerEntry.objects.filter(pk=entry_id).update(
            result=PairStatus.KNOWN if whole else PairStatus.DIVERGED, known=summary(found) if whole else ""
        )
