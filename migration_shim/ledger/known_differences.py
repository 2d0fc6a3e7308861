"""
The register of known differences. For each, somebody has investigated it, is responsible for it, and until when.

What an entry covers is counted in every report and never hidden. Once the entry has expired or was withdrawn, what it
covered counts against the course again, at the next verdict and without a new reconcile.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Q
from django.utils.timezone import now

from ..core.buckets import Facts, Flag, parse_differences
from ..core.data import GRAVE, DivergenceClass, Document, ExitCode, PairStatus
from ..core.documents import known as documents
from ..core.errors import ShimError
from ..db import converted, text_columns
from ..models import Divergence, KnownDifference, LedgerEntry, PhaseChange
from . import counts
from .buckets import Changes, counted, differences_of

SCHEMA = "migration_shim.xqueue_known/1"
#: Classes that cannot be registered. Only a signed cure ends them; see cures.py.
NOT_EXCUSABLE = GRAVE
#: Entries restated in one transaction; it is few, because graders' sessions write to the same rows.
BATCH = 200


def in_force(moment: datetime) -> Q:
    """Return the condition for the entries of the register that count at a moment."""
    return Q(withdrawn_at=None, expires_at__gt=moment)


def of_course(
    course_id: str, moment: datetime, on_record: Iterable[KnownDifference] | None = None
) -> list[KnownDifference]:
    """
    Return the entries of the register that apply to a course at a moment, the most specific first.

    ``on_record`` is what ``with_expired`` has just returned; without it the register is read.
    """
    entries = [
        entry
        for entry in (with_expired(course_id) if on_record is None else on_record)
        if entry.withdrawn_at is None and entry.expires_at > moment and entry.klass not in NOT_EXCUSABLE
    ]
    return sorted(entries, key=lambda entry: (not entry.item_id, not entry.queue_name, not entry.course_id, entry.pk))


def with_expired(course_id: str) -> list[KnownDifference]:
    """Return the entries of the register that name a course or all courses, in their order, whether in force or not."""
    return converted.found(KnownDifference, "course_id IN ('', %s) ORDER BY id", [course_id])


def match(
    register: Iterable[KnownDifference], klass: DivergenceClass, queue_name: str, item_id: str
) -> KnownDifference | None:
    """
    Return the first entry of ``register`` that covers a difference of this class, queue and problem, or None.

    ``register`` comes from ``of_course``.
    """
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
) -> Document[documents.KnownDocument]:
    """
    Register a difference.

    Args:
        klass: the class of divergence that is understood.
        reason: why it is harmless.
        owner: who is responsible for it.
        days: after how many days it counts against the course again.
        course_id: the course; empty for all courses. The same goes for the queue and the problem.
        queue_name: the queue.
        item_id: the problem.

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
        reason=text_columns.fitted(KnownDifference, "reason", reason),
        owner=text_columns.fitted(KnownDifference, "owner", owner)[:150],
        created_at=moment,
        expires_at=moment + timedelta(days=days),
    )
    return listing()


def withdraw(number: int) -> Document[documents.KnownDocument]:
    """
    Take the entry with this number out of force. It stays on record.

    Raises:
        ShimError: there is no such entry in force.
    """
    moment = now()
    if not KnownDifference.objects.filter(in_force(moment), pk=number).update(withdrawn_at=moment):
        raise ShimError(f"There is no known difference {number} in force.")
    return listing()


def listing() -> Document[documents.KnownDocument]:
    """Return the whole register, expired and withdrawn entries included, and all cures that were signed."""
    moment, rows = now(), KnownDifference.objects.order_by("pk")
    hits = hits_of(rows)
    entries = [described(entry, moment, hits[entry.pk]) for entry in rows]
    content: documents.KnownDocument = {
        "schema": SCHEMA,
        "at": moment.isoformat(),
        "known_differences": entries,
        "cures": _cures(),
    }
    return Document(content=content, exit_code=ExitCode.OK)


def _cures() -> list[documents.Cure]:
    return [
        {
            "course": row.course_id,
            "class": row.evidence["cured"]["class"],
            "number": row.evidence["cured"]["number"],
            "at": row.changed_at.isoformat(),
            "by": row.changed_by,
            "reason": row.reason,
        }
        for row in PhaseChange.objects.filter(evidence__has_key="cured").order_by("pk")
    ]


def described(entry: KnownDifference, moment: datetime, covers: int) -> documents.KnownDifference:
    """Return one entry as plain data, for documents and reports. ``covers`` is how many divergences it covers."""
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
        "covers": covers,
    }


def described_of(
    course_id: str, moment: datetime, on_record: list[KnownDifference] | None = None
) -> list[documents.KnownDifference]:
    """Return the register's entries for a course as plain data, expired ones included; ``on_record`` as above."""
    rows = with_expired(course_id) if on_record is None else on_record
    hits = hits_of(rows)
    return [described(entry, moment, hits[entry.pk]) for entry in rows]


def summary(numbers: Iterable[int], *, cured: bool = False) -> str:
    """Return the name that the ledger keeps for a difference that entries of the register, or a signed cure, cover."""
    registered = ", ".join(map(str, sorted(set(numbers))))
    return ", ".join(filter(None, ["cured" * cured, f"register {registered}" if registered else ""]))[:64]


def apply(course_id: str, moment: datetime, on_record: Iterable[KnownDifference] | None = None) -> counts.Numbers:
    """
    Bring the divergences on record of a course in line with the register as it is at ``moment``.

    An entry of the ledger is ``known`` if all of its divergences are covered, and ``diverged`` if any is not, however
    long it was known before. Nothing is written where nothing changes. The buckets tell which entries would change:
    while the register says what it said before, no entry is read. ``on_record`` is what ``with_expired`` has just
    returned, and never what a run has read before it compared: an entry that was withdrawn meanwhile would count.

    Returns:
        What ``counts.bucketed`` returns of the course after this: nobody need read the buckets again to count.
    """
    register = of_course(course_id, moment, on_record)
    buckets = counts.buckets(course_id)
    # In a transaction of the caller's the counters are written once all entries are locked.
    changes = Changes() if connection.in_atomic_block else None
    restated = False
    for ids in _astray(course_id, buckets, register):
        restated = restated or bool(ids)
        restate(ids, register, changes)
    if changes is not None:
        changes.write()
    hits = hits_of(register)
    for entry in register:
        if hits[entry.pk] != entry.hits:
            KnownDifference.objects.filter(pk=entry.pk).update(hits=hits[entry.pk])
    return counts.bucketed(course_id) if restated else list(buckets.values())


def _astray(
    course_id: str, buckets: Mapping[int, tuple[Facts, int]], register: list[KnownDifference]
) -> Iterator[list[int]]:
    """Yield the ids of entries whose result disagrees with the register or with their own divergences."""
    entries = LedgerEntry.objects.filter(course_id=course_id)
    for pk in [pk for pk, (facts, _) in buckets.items() if _is_astray(facts, register)]:
        # All of them, before one is moved to another bucket.
        yield list(entries.filter(bucket_id=pk).order_by("pk").values_list("pk", flat=True))
    for ids in counts.loose_pages(course_id):
        page = entries.filter(pk__in=ids).values_list("pk", "result", "queue_name", "item_id")
        differences = differences_of(ids)
        yield [pk for pk, *has in page if _says_other(has[0], has[1], has[2], differences.get(pk, {}), register)]


def _is_astray(facts: Facts, register: list[KnownDifference]) -> bool:
    if not (facts.differences or facts.has(Flag.DIFFERS)):
        return False
    return _says_other(facts.result, facts.queue_name, facts.item_id, parse_differences(facts.differences), register)


def _says_other(
    result: str,
    queue_name: str,
    item_id: str,
    differences: Mapping[Any, int | None],
    register: list[KnownDifference],
) -> bool:
    for klass, known in differences.items():
        covers = match(register, DivergenceClass(klass), queue_name, item_id)
        if (covers.pk if covers else None) != known:
            return True
    # A release that stored and applied at once has left some whose result is not what their divergences say.
    return result == (PairStatus.KNOWN if None in differences.values() else PairStatus.DIVERGED)


def hits_of(register: Iterable[KnownDifference]) -> Counter[int]:
    """Return how many divergences each of these entries of the register covers, by its number."""
    everywhere = counts.courses() if any(not entry.course_id for entry in register) else []
    found: Counter[int] = Counter()
    for course_id in {*everywhere, *(entry.course_id for entry in register)} - {""}:
        for facts, number in counts.facts(course_id):
            found.update(
                {known: number for known in parse_differences(facts.differences).values() if known is not None}
            )
    return found


def restate(entries: Iterable[int], register: list[KnownDifference], changes: Changes | None = None) -> None:
    """
    Store on these entries which of their divergences are covered, and whether all are.

    Everything is read again under the entries' locks, which a reconcile takes too when it stores results. So what it
    has stored meanwhile is neither hidden nor counted twice. The read is a locking read, so a transaction of the caller
    sees what is there now and not what was there when it began.

    Args:
        entries: their ids.
        register: as ``of_course`` returns it.
        changes: those of a longer transaction, which writes them at its end. Without them each batch is a transaction
            of its own.
    """
    ids = sorted(set(entries))
    for start in range(0, len(ids), BATCH):
        with counted(ids[start : start + BATCH], changes):
            cover(ids[start : start + BATCH], register)


def cover(ids: Collection[int], register: list[KnownDifference]) -> None:
    """
    Store what is covered on entries that the caller has locked and recounts (``ledger.buckets.counted``).

    ``register`` comes from ``of_course``.
    """
    columns = ("pk", "result", "queue_name", "item_id")
    wanted = LedgerEntry.objects.filter(pk__in=ids).order_by("pk").select_for_update()
    entries = {pk: rest for pk, *rest in wanted.values_list(*columns)}
    divergences: dict[int, list[Divergence]] = defaultdict(list)
    for row in Divergence.objects.filter(entry__in=entries).order_by("pk").select_for_update():
        divergences[row.entry_id].append(row)
    for pk, found in divergences.items():
        result, queue_name, item_id = entries[pk]
        for row in found:
            covers = match(register, DivergenceClass(row.klass), queue_name, item_id)
            if (covers.pk if covers else None) != row.known_id:
                row.known = covers
                row.save(update_fields=["known"])
        if result not in (PairStatus.DIVERGED, PairStatus.KNOWN):
            continue  # a handoff has taken it: what its shadow differed in is no result of it any more
        numbers = [row.known_id for row in found if row.known_id is not None]
        whole = all(row.known_id is not None or row.cured_at is not None for row in found)
        name = summary(numbers, cured=any(row.cured_at is not None for row in found))
        status = PairStatus.KNOWN if whole else PairStatus.DIVERGED
        LedgerEntry.objects.filter(pk=pk).update(result=status, known=name if whole else "")
